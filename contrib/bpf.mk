# Builds the BPF object $(NAME).o that is committed and embedded in the program. `make` writes it, `make check` compares.
#
# Every byte depends on the sources and on the compiler alone: the source path is relative, debug sections but
# .BTF are stripped. The committed objects come from clang 14 (Debian 12: clang-14 llvm-14 libbpf-dev).

CLANG      ?= clang-14
LLVM_STRIP ?= llvm-strip-14
MULTIARCH  := $(shell gcc -print-multiarch 2>/dev/null)
# -mcpu=v2 keeps to the instructions that the oldest kernels have on which the programs run.
CFLAGS     := -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v2 -fdebug-compilation-dir=. \
              $(if $(MULTIARCH),-I/usr/include/$(MULTIARCH))

.PHONY: all check
all: $(NAME).o

$(NAME).o: $(NAME).c ../bpf.mk
	$(CLANG) $(CFLAGS) -c $< -o $@
	$(LLVM_STRIP) -g $@

check:
	@dir=$$(mktemp -d) && trap 'rm -r "$$dir"' EXIT && \
	$(CLANG) $(CFLAGS) -c $(NAME).c -o "$$dir/$(NAME).o" && \
	$(LLVM_STRIP) -g "$$dir/$(NAME).o" && \
	cmp "$$dir/$(NAME).o" $(NAME).o && echo "$(NAME).o is what its source gives"
