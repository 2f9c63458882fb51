//! Writes the manual pages and completions that the package installs: `cargo run --example manual -- DIRECTORY`.
#![allow(clippy::expect_used)]

mod manual;

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(directory) = env::args_os().nth(1) else {
        return Err(io::Error::other("name the directory to write to"));
    };
    let mut files = manual::command_pages()?;
    files.push(("capsd.toml.5".to_owned(), manual::configuration_page()));
    write(&Path::new(&directory).join("man"), files)?;
    write(
        &Path::new(&directory).join("completions"),
        manual::completions(),
    )
}

/// Writes files into a directory that holds nothing else afterwards.
fn write(directory: &Path, files: Vec<manual::File>) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    for (name, content) in files {
        fs::write(directory.join(name), content)?;
    }
    Ok(())
}
