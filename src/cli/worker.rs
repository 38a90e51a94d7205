//! `farshore worker …`

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::Error;
use crate::{
    task,
    worker::{self, Mounts, Start},
};

/// What a worker's pod does. The task's file says which of them it is for; the name is for people.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Keeps a copy of a backup set current.
    Sync(Flags),
    /// Takes a copy away.
    Purge(Flags),
    /// Brings a bucket in line with another.
    Replicate(Flags),
    /// Copies one range of what a bucket held before.
    Migrate(Flags),
    /// Works out what a restore reads.
    Plan(Flags),
    /// Restores an instance.
    Restore(Flags),
    /// Keeps a replica set in line with its master, and makes it take over.
    Standby(Flags),
    /// Brings this program into a folder, for a container with another image.
    Install {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Flags {
    /// The task's file.
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Hash that the task's file must have.
    #[arg(long, value_name = "HASH")]
    task_hash: String,
    /// Sortable id of this run.
    #[arg(long, value_name = "ID")]
    run_id: String,
    /// Directory with the source store's credentials.
    #[arg(long, value_name = "DIR", default_value = task::SOURCE_CREDENTIALS_DIR)]
    source_credentials: PathBuf,
    /// Directory with the target store's credentials.
    #[arg(long, value_name = "DIR", default_value = task::TARGET_CREDENTIALS_DIR)]
    target_credentials: PathBuf,
    /// Directory with the source instance's credentials.
    #[arg(long, value_name = "DIR", default_value = task::INSTANCE_CREDENTIALS_DIR)]
    instance_credentials: PathBuf,
    /// Directory with the token that messages of the source store must carry.
    #[arg(long, value_name = "DIR", default_value = task::RECEIVER_TOKEN_DIR)]
    receiver_token: PathBuf,
    /// Directory with the credentials for the queue that tells of changes.
    #[arg(long, value_name = "DIR", default_value = task::QUEUE_CREDENTIALS_DIR)]
    queue_credentials: PathBuf,
    /// Directory with the account of a new instance.
    #[arg(long, value_name = "DIR", default_value = task::ADMIN_CREDENTIALS_DIR)]
    admin_credentials: PathBuf,
    /// Directory with the key of encrypted backups.
    #[arg(long, value_name = "DIR", default_value = task::DECRYPTION_DIR)]
    decryption_key: PathBuf,
    /// Directory with the volume of a new instance. It is emptied.
    #[arg(long, value_name = "DIR", default_value = task::VOLUME_DIR)]
    volume: PathBuf,
    /// Directory for small files of this run.
    #[arg(long, value_name = "DIR", default_value = task::WORK_DIR)]
    work: PathBuf,
    /// File with the plan of a migration.
    #[arg(long, value_name = "FILE", default_value_os_t = Path::new(task::PLAN_DIR).join(task::PLAN_KEY))]
    plan: PathBuf,
    /// Index of this pod in its Job: which range of the plan it copies.
    #[arg(long, value_name = "NUMBER", env = "JOB_COMPLETION_INDEX")]
    index: Option<u32>,
    /// Address of `/healthz` and `/readyz`; `off` serves none.
    #[arg(long, value_name = "ADDRESS", default_value_t = format!("[::]:{}", task::WORKER_PORT))]
    health_address: String,
    /// Address at which messages of the source store are received, where the task asks for it.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, task::RECEIVER_PORT)))]
    receiver_address: SocketAddr,
    /// Where the last words go.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

/// Runs the role. Its exit code is the table of `task::ExitCode`.
pub async fn run(role: Role) -> Result<ExitCode, Error> {
    if let Role::Install { folder } = &role {
        return install(folder);
    }
    let (Role::Sync(flags)
    | Role::Purge(flags)
    | Role::Replicate(flags)
    | Role::Migrate(flags)
    | Role::Plan(flags)
    | Role::Restore(flags)
    | Role::Standby(flags)) = role
    else {
        return Ok(ExitCode::SUCCESS);
    };
    let listen = listen(&flags.health_address)?;
    let start = Start {
        task: flags.task,
        task_hash: flags.task_hash,
        run_id: flags.run_id,
        termination_log: flags.termination_log,
        mounts: Mounts {
            source: flags.source_credentials,
            target: flags.target_credentials,
            instance: flags.instance_credentials,
            receiver: flags.receiver_token,
            queue: flags.queue_credentials,
            admin: flags.admin_credentials,
            decryption: flags.decryption_key,
            volume: flags.volume,
            work: flags.work,
        },
        plan: flags.plan,
        index: flags.index,
        listen,
        receive: flags.receiver_address,
    };
    Ok(ExitCode::from(worker::run(start).await as u8))
}

fn install(folder: &Path) -> Result<ExitCode, Error> {
    let to = folder.join("farshore");
    let copied = std::env::current_exe().and_then(|program| std::fs::copy(program, &to));
    copied.map_err(|source| Error::File { path: to, source })?;
    Ok(ExitCode::SUCCESS)
}

fn listen(address: &str) -> Result<Option<SocketAddr>, Error> {
    if address == "off" {
        return Ok(None);
    }
    address.parse().map(Some).map_err(|_| Error::BadArgument {
        argument: "--health-address",
        value: address.to_owned(),
        expected: "write it like [::]:8081, or off",
    })
}
