//! Tells the program which commit it is made of. Without git, or outside a checkout, it is made without one.

use std::process::Command;

/// Output of a git command in the package's folder, when there is one.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_COMMIT");
    // Packages are built outside a checkout and know the commit otherwise. A checkout around the package, such as a
    // distribution's, is not ours.
    let own = || {
        let root = std::fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
        (root == std::env::current_dir().ok()?).then(|| git(&["rev-parse", "--short=12", "HEAD"]))?
    };
    let commit = std::env::var("SOURCE_COMMIT").ok().or_else(own);
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) =
            git(&["rev-parse", "--git-path", file]).filter(|path| std::path::Path::new(path).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    let commit = commit.filter(|commit| commit.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let version = env!("CARGO_PKG_VERSION");
    match commit.filter(|commit| !commit.is_empty()) {
        Some(commit) => println!("cargo::rustc-env=VERSION_WITH_COMMIT={version} ({commit})"),
        None => println!("cargo::rustc-env=VERSION_WITH_COMMIT={version}"),
    }
}
