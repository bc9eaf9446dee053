# The entry points of the project; `make` alone lists them. Works as root, or with sudo where root is needed.

INTERFACE ?= auto
ARGS ?=
E2E ?=
SOAK_MINUTES ?= 60
PYTHON ?= /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
# What starts the daemon; sudo unless this is root already.
RUN_WITH ?= $(SUDO)
export PATH := $(PATH):$(HOME)/.cargo/bin

LIBRARIES := libpcap-dev libipset-dev libnftnl-dev libmnl-dev libbpf-dev libelf-dev zlib1g-dev
BUILD_PACKAGES := gcc libc6-dev make pkg-config clang libclang-dev $(LIBRARIES)
RUN_PACKAGES := iproute2 nftables iptables ipset
TEST_PACKAGES := $(RUN_PACKAGES) iputils-ping procps mount python3 python3-libtorrent transmission-daemon aria2 opentracker \
	openssh-server openssh-client openssl
BENCH_PACKAGES := libndpi-bin tcpdump valgrind iproute2 ipset nftables python3
OPERATOR_PACKAGES := nftables prometheus chromium chromium-driver
LINT_PACKAGES := shellcheck
DEB_PACKAGES := dpkg-dev lintian
PACKAGING_PACKAGES := $(DEB_PACKAGES) systemd-container debootstrap nix-bin iputils-ping rpm
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
MACHINE := $(shell uname -m)
ARCH := $(MACHINE)
SCRIPTS := .ci/run $(wildcard contrib/*.sh tests/*.sh benches/*.sh tests/packaging/*.sh)

# Tests that make network namespaces need root: cargo builds as the user and starts the built tests through sudo.
CARGO_RUNNER := $(if $(SUDO),--config 'target."cfg(all())".runner = "sudo -E"')

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { \
		echo "cargo is missing: install Rust with rustup, https://rustup.rs (Debian's own Rust is too old)" >&2; exit 1; }

.PHONY: setup
setup: cargo ## install the packages that the build and the daemon need (Debian, Ubuntu)
	@contrib/install-packages.sh $(BUILD_PACKAGES) $(RUN_PACKAGES)

.PHONY: setup-test
setup-test: setup ## install the packages that the tests need: real BitTorrent clients among them
	@contrib/install-packages.sh $(TEST_PACKAGES)

.PHONY: build
build: setup ## build target/release/btblocker
	cargo build --release --locked

.PHONY: run
run: build ## watch INTERFACE (default: the one of the default route) and ban; ARGS="..." adds options
	$(RUN_WITH) target/release/btblocker --interface $(INTERFACE) $(ARGS)

.PHONY: test
test: setup-test ## all Rust tests, then a short selection of the end-to-end test
	cargo $(CARGO_RUNNER) test --workspace --locked
	cargo build --locked
	$(SUDO) $(PYTHON) -B tests/e2e/run.py --binary target/debug/btblocker --smoke

.PHONY: e2e
e2e: setup-test build ## the whole end-to-end test with real clients; E2E="PATTERN..." selects cases
	$(SUDO) $(PYTHON) -B tests/e2e/run.py --binary target/release/btblocker $(E2E)

.PHONY: soak
soak: setup-test build ## an hour of real clients one after the other in front of one daemon; SOAK_MINUTES shortens it
	$(SUDO) $(PYTHON) -B tests/e2e/soak.py --minutes $(SOAK_MINUTES)

.PHONY: test-operators
test-operators: build ## a real Prometheus scrapes the daemon, a real browser shows its page; target/screenshots has what it saw
	@contrib/install-packages.sh $(OPERATOR_PACKAGES)
	$(SUDO) $(PYTHON) -B tests/e2e/scrape.py --binary target/release/btblocker
	$(SUDO) $(PYTHON) -B tests/e2e/page.py --binary target/release/btblocker --screenshots target/screenshots

.PHONY: lint
lint: setup ## formatting, clippy, documentation and shellcheck; warnings are errors
	@contrib/install-packages.sh $(LINT_PACKAGES)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
	shellcheck $(SCRIPTS)

.PHONY: deny
deny: cargo ## licences, bans and sources of all dependencies; known holes where their list can be fetched
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny --all-features check bans licenses sources
	@if cargo deny fetch db; then cargo deny --all-features check advisories; \
	else echo "the list of known holes cannot be fetched: not checked" >&2; fi

.PHONY: bench
bench: setup ## measure steps, growth, large captures beside nDPI's reader, and live capture; see contrib/BENCHMARKS.md
	@contrib/install-packages.sh $(BENCH_PACKAGES)
	cargo bench --locked --bench micro --bench growth
	cargo build --release --locked --bin btblocker --example generate_capture
	benches/replay.sh
	$(SUDO) $(PYTHON) -B benches/live.py

.PHONY: manual
manual: cargo
	cargo run --release --locked --quiet --example manual -- target/manual

.PHONY: deb
deb: build manual ## build the Debian package into target/debian and examine it with lintian
	@contrib/install-packages.sh $(DEB_PACKAGES)
	@command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
	rm -rf target/debian
	cargo deb --no-build --locked --strip
	lintian --fail-on error target/debian/*.deb

# Programs of binutils that know ARCH, and what is built for it.
ifeq ($(ARCH),$(MACHINE))
TOOLS :=
BUILT := target/release/btblocker
else
TOOLS := $(ARCH)-linux-gnu-
BUILT := target/$(ARCH)-unknown-linux-gnu/release/btblocker
endif

.PHONY: cross
cross: setup
	contrib/cross-build.sh $(ARCH) $(LIBRARIES)

RELEASE := btblocker-$(VERSION)-$(ARCH)-linux-gnu
# The newest version of glibc of which the program uses a symbol.
GLIBC = $(shell $(TOOLS)objdump -T $(BUILT) | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -n 1)

.PHONY: release
release: $(if $(TOOLS),cross,build) manual ## build the release archive with its checksum into target/release-archive; ARCH=aarch64 for another processor
	rm -rf target/release-archive/$(RELEASE)*
	install -D -m 755 $(BUILT) target/release-archive/$(RELEASE)/btblocker
	$(TOOLS)strip target/release-archive/$(RELEASE)/btblocker
	cp -r contrib docs README.md SECURITY.md LICENSE CHANGELOG.md target/manual target/release-archive/$(RELEASE)/
	printf 'Needs glibc %s or newer, and:\n%s\n' '$(GLIBC)' \
		"$$($(TOOLS)objdump -p $(BUILT) | sed -n 's/ *NEEDED *//p' | grep -v '^lib[cm]\.')" \
		>target/release-archive/$(RELEASE)/REQUIREMENTS
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$$(git log -1 --format=%ct) -C target/release-archive \
		-cf - $(RELEASE) | gzip -9n >target/release-archive/$(RELEASE).tar.gz
	rm -r target/release-archive/$(RELEASE)
	cd target/release-archive && sha256sum btblocker-$(VERSION)-*.tar.gz >SHA256SUMS && cat SHA256SUMS

.PHONY: test-packaging
test-packaging: deb ## systemd, deb, rpm, NixOS module and container, each in containers and evaluations of their own
	@contrib/install-packages.sh $(PACKAGING_PACKAGES)
	$(SUDO) tests/packaging/systemd.sh target/release/btblocker
	$(SUDO) tests/packaging/deb.sh target/debian/*.deb
	tests/packaging/rpm.sh target/release/btblocker target/manual target/debian/*.deb
	tests/packaging/nix.sh target/release/btblocker
	$(SUDO) env "PATH=$$PATH" tests/packaging/container.sh
	$(SUDO) tests/packaging/image.sh

.PHONY: test-nix
test-nix: setup ## evaluate the NixOS module and compare unit and configuration with what is expected
	@contrib/install-packages.sh nix-bin systemd python3
	cargo build --locked
	tests/packaging/nix.sh target/debug/btblocker

.PHONY: test-cross
test-cross: cross build ## ARCH=aarch64: build for that processor, and replay all recorded cases in an emulator
	@contrib/install-packages.sh qemu-user
	tests/packaging/cross.sh $(ARCH) target/release/btblocker

.PHONY: ci
ci: lint xdp test test-nix fuzz-smoke e2e ## everything that must hold before a release

.PHONY: xdp
xdp: setup ## rebuild the BPF objects and compare them with the committed ones
	@contrib/install-packages.sh clang-14 llvm-14
	$(MAKE) -C contrib/xdp check
	$(MAKE) -C contrib/early-exit check

FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 3600
SMOKE_SECONDS ?= 30
.PHONY: fuzz-seeds
fuzz-seeds: setup
	@contrib/install-packages.sh g++
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	cd fuzz && cargo run --locked --target-dir ../target --example seeds

.PHONY: fuzz-smoke
fuzz-smoke: fuzz-seeds ## SMOKE_SECONDS of each fuzz target, as many at once as there are processors
	cd fuzz && cargo fuzz build -s none --dev
	@cd fuzz && printf '%s\n' $(FUZZ_TARGETS) | xargs -P "$$(nproc)" -I TARGET sh -c '\
		cargo fuzz run -s none --dev TARGET -- -max_total_time=$(SMOKE_SECONDS) -max_len=8192 >target/TARGET.log 2>&1 \
			|| { cat target/TARGET.log; exit 1; }; sed -n "s/^Done/TARGET:/p" target/TARGET.log'

.PHONY: fuzz
fuzz: fuzz-seeds ## FUZZ_SECONDS of each fuzz target with the address sanitizer (needs nightly Rust)
	cd fuzz && for target in $(FUZZ_TARGETS); do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -rss_limit_mb=2048 \
			-print_final_stats=1 || exit 1; done
