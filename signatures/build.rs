//! Turns `data/*.toml` into `static` tables; an entry that is refused stops the build.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

#[path = "build/emit.rs"]
#[allow(unreachable_pub, reason = "a module of a build script")]
mod emit;
#[path = "build/validate/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "the tests use it too")]
mod validate;
#[path = "src/words.rs"]
#[allow(unreachable_pub, dead_code, reason = "the library uses it too")]
mod words;

/// The file that holds no signatures.
const CLIENTS: &str = "clients.toml";

/// Name and content of every file in `data/`, sorted by name.
fn data() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir("data")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let text =
                fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
            files.push((name, text));
        }
    }
    files.sort();
    Ok(files)
}

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["build.rs", "build", "data", "src/words.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let (clients, signatures): (Vec<_>, Vec<_>) = data()?.into_iter().partition(|(name, _)| name == CLIENTS);
    let clients = clients.first().map(|(_, text)| text.as_str()).unwrap_or_default();

    let signatures = validate::signatures(&signatures);
    let clients = validate::clients::read(CLIENTS, clients);
    let refused = signatures
        .as_ref()
        .err()
        .into_iter()
        .chain(clients.as_ref().err())
        .flatten();
    for refusal in refused {
        println!("cargo::error=data/{}", refusal.to_string().replace('\n', " "));
    }
    let (Ok(signatures), Ok(clients)) = (signatures, clients) else {
        // Cargo fails the build because of the errors that were printed.
        return Ok(());
    };

    let mut out = String::new();
    emit::signatures(&mut out, &signatures)?;
    emit::clients(&mut out, &clients)?;
    let to = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&to).join("tables.rs"), out)?;
    Ok(())
}
