//! Prints the public API of the crate of which rustdoc wrote the JSON file that is named.

use std::error::Error;
use std::io::{self, Write as _};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: guard-agent-api FILE")?;
    let api = public_api::Builder::from_rustdoc_json(path)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    write!(io::stdout(), "{api}")?;
    Ok(())
}
