//! A copy of a MariaDB or MySQL, and the instances that it brings back.

use std::{path::Path, sync::Arc};

use farshore::{
    backup::catalog::Format,
    restore::{self, AtStep, Origin, Plan, Reporter, mysql},
    store::ObjectStore,
};
use jiff::Timestamp;

use crate::{mysql_source::Kind, server::mysql_programs};

/// A copy of backups, to restore from.
pub struct Set {
    pub kind: Kind,
    pub format: Format,
    pub store: Arc<dyn ObjectStore>,
    pub prefix: String,
}

impl Set {
    pub async fn plan(&self, at: Option<Timestamp>) -> restore::Result<Plan> {
        let (_, mut plan) = restore::look(&self.store, &self.prefix, &self.format, at).await?;
        restore::locate(&self.store, &self.prefix, &mut plan).await?;
        Ok(plan)
    }

    /// Carries out a plan in a folder.
    pub async fn carry_out(&self, plan: &Plan, folder: &Path) -> Result<restore::Reached, AtStep> {
        let settings = mysql::Settings {
            programs: (self.kind != Kind::MariaDb).then(mysql_programs),
            volume: folder.join("volume"),
            work: folder.join("work"),
            arguments: vec![
                "--user=root".to_owned(),
                "--innodb-flush-log-at-trx-commit=0".to_owned(),
                format!("--tmpdir={}", folder.display()),
            ],
            server_id: 4711,
            admin: Some(mysql::Admin { name: "o'hara".to_owned(), password: r"it's \ secret".to_owned() }),
            checks: vec!["SELECT COUNT(*), MAX(id) FROM shop.orders".to_owned()],
            check_tables: true,
        };
        std::fs::create_dir(&settings.volume).unwrap();
        std::fs::write(settings.volume.join("left by another attempt"), "x").unwrap();
        let origin = Origin {
            store: Arc::clone(&self.store),
            prefix: self.prefix.clone(),
            reporter: Reporter::new(plan.bytes),
        };
        let reached = mysql::restore(plan, &origin, &settings).await;
        assert!(!settings.volume.join("left by another attempt").exists());
        reached
    }

    /// Restores a moment, and answers the rows, with what was reached.
    pub async fn restored(&self, at: Option<Timestamp>) -> (Vec<u32>, Plan, restore::Reached) {
        let plan = self.plan(at).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let reached = self.carry_out(&plan, folder.path()).await;
        let reached = reached.unwrap_or_else(|error| panic!("{at:?}: {error}"));
        let data = folder.path().join("volume").join(mysql::DATA);
        let server = self.kind.start(folder.path(), &data, &["--server-id=4711"]);
        let account = ["--user=o'hara", r"--password=it's \ secret"];
        let rows = server.try_ask("SELECT id FROM shop.orders ORDER BY id", &account).unwrap();
        let users = "SELECT User FROM mysql.user WHERE User LIKE 'farshore%' OR User = 'app'";
        let users = server.try_ask(users, &account).unwrap();
        assert_eq!(users.trim(), "app", "accounts are the source's, ours is gone");
        let rows: Vec<u32> = rows.lines().map(|row| row.parse().unwrap()).collect();
        let counted = format!("{}\t{}", rows.len(), rows.iter().max().unwrap());
        assert_eq!(reached.answers, [counted.as_str(), "OK"]);
        (rows, plan, reached)
    }
}
