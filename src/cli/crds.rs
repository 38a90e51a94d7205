//! `farshore crds`

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::Error;
use crate::api;

#[derive(Debug, Args)]
pub struct Flags {
    /// Writes one file a kind into this directory instead of printing them all.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes the definitions; the same program always gives the same text.
pub fn run(flags: &Flags) -> Result<ExitCode, Error> {
    for definition in api::definitions() {
        let text = serde_yaml_ng::to_string(&definition)?;
        match &flags.dir {
            Some(directory) => {
                let path = directory.join(file_name(&definition));
                std::fs::create_dir_all(directory)
                    .and_then(|()| std::fs::write(&path, text))
                    .map_err(|source| Error::File { path, source })?;
            }
            None => write!(std::io::stdout(), "---\n{text}")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn file_name(definition: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural)
}
