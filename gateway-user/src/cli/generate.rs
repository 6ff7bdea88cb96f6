//! `gateway completions` and `gateway man`: written from the same clap types that parse.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::{
    Cli, DONE, Done,
    output::{print_line, print_text},
};
use crate::{api::client::Failure, base::Refusal};

#[derive(Debug, Subcommand)]
pub enum Generate {
    /// Print the completion script of a shell
    Completions(Completions),
    /// Write the manual pages into a directory
    Man(Man),
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Directory; it is made if it is not there
    #[arg(default_value = ".")]
    dir: PathBuf,
}

impl Generate {
    pub(super) fn run(&self) -> Done {
        match self {
            Self::Completions(Completions { shell }) => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Cli::describe(), "gateway", &mut script);
                print_text(&String::from_utf8_lossy(&script));
            }
            Self::Man(Man { dir }) => {
                std::fs::create_dir_all(dir)
                    .and_then(|()| clap_mangen::generate_to(Cli::describe(), dir))
                    .map_err(|error| {
                        Failure::Refused(
                            Refusal::new("unwritable", format!("cannot write the manual pages: {error}"))
                                .field("dir", dir.display())
                                .remedy("name a directory that you may write to"),
                        )
                    })?;
                print_line(&format!("manual pages are in {}; read one with `man -l`", dir.display()));
            }
        }
        Ok(DONE)
    }
}
