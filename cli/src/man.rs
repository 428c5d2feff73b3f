//! Writes the man pages from the definitions of the commands: `man FOLDER`. Only packaging enables it (feature `man`), so that
//! the tool of users does not contain the generator.

use clap::CommandFactory;
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes the pages if the arguments of this process are `man FOLDER`. Returns the exit code, or `None` for other arguments.
pub fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != "man" {
        return None;
    }
    let folder = PathBuf::from(arguments.next()?);
    let command = crate::help::extend(crate::Cli::command()).version(env!("CARGO_PKG_VERSION"));
    let written = std::fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command, &folder));
    Some(match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            crate::complain(&format!("{}: cannot write the man pages: {e}", folder.display()));
            ExitCode::from(2)
        }
    })
}
