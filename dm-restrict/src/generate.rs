// SPDX-License-Identifier: MIT OR Apache-2.0
//! Man pages and shell completions, from the definitions of the command line.

use std::{error::Error, fs, path::Path};

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use crate::cli::{Cli, Generated};

pub(crate) fn generate(what: Generated, directory: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let mut command = Cli::command();
    match what {
        Generated::Man => clap_mangen::generate_to(command, directory)?,
        Generated::Completions => {
            let name = command.get_name().to_owned();
            for shell in Shell::value_variants() {
                clap_complete::generate_to(*shell, &mut command, &name, directory)?;
            }
        }
    }
    Ok(())
}
