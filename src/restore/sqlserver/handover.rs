//! Questions to the restored server, and the login that it is handed over with.

use super::{
    Settings,
    script::literal,
    server::{self, Server},
};
use crate::restore::{Error, Result, mysql::Admin};

/// Characters of a name or password that SQL Server takes.
const LONGEST: usize = 128;
/// The account of the setup.
pub(super) const FIRST_LOGIN: &str = "sa";

/// Makes the login, or gives it this password. Name and password come as digits, so that no character of theirs means
/// anything to anybody on the way.
const LOGIN: &str = "SET NOCOUNT ON;
DECLARE @name sysname = CONVERT(nvarchar(128), 0x$(FARSHORE_ADMIN_NAME));
DECLARE @password nvarchar(128) = CONVERT(nvarchar(128), 0x$(FARSHORE_ADMIN_PASSWORD));
DECLARE @order nvarchar(max) = IIF(SUSER_ID(@name) IS NULL, N'CREATE', N'ALTER') + N' LOGIN ' + QUOTENAME(@name)
  + N' WITH PASSWORD = N''' + REPLACE(@password, N'''', N'''''') + N''', CHECK_POLICY = OFF;';
EXEC (@order);
IF ISNULL(IS_SRVROLEMEMBER(N'sysadmin', @name), 0) = 0
BEGIN
  SET @order = N'ALTER SERVER ROLE sysadmin ADD MEMBER ' + QUOTENAME(@name) + N';';
  EXEC (@order);
END;
";

/// Checks, hands over to the administrator, shuts down.
pub(super) async fn finish(
    mut server: Server,
    databases: &[String],
    settings: &Settings,
) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for check in &settings.checks {
        answers.push(server.ask(check).await?);
    }
    if settings.check_tables {
        answers.push(check_databases(&mut server, databases).await?);
    }
    if let Some(admin) = &settings.admin {
        make_login(&mut server, admin).await?;
    }
    server.stop().await?;
    server::forget(&settings.volume)?;
    Ok(answers)
}

/// `OK`, or the first complaint.
async fn check_databases(server: &mut Server, databases: &[String]) -> Result<String> {
    for database in databases {
        let order = format!("DBCC CHECKDB ({}) WITH NO_INFOMSGS;", literal(database));
        match server.ask(&order).await {
            Ok(_) => {}
            Err(Error::Tool { said, .. }) if server.is_running() => {
                return Ok(format!("{database}: {}", said.lines().next().unwrap_or("damaged")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok("OK".to_owned())
}

async fn make_login(server: &mut Server, admin: &Admin) -> Result<()> {
    for (key, text) in [("username", &admin.name), ("password", &admin.password)] {
        if text.encode_utf16().count() > LONGEST || text.contains(char::is_control) {
            return Err(Error::Unusable(format!(
                "{key} in the administrator's Secret can't be given to SQL Server: it must have at most {LONGEST} characters, and one line"
            )));
        }
    }
    let variables =
        [("FARSHORE_ADMIN_NAME", digits(&admin.name)), ("FARSHORE_ADMIN_PASSWORD", digits(&admin.password))];
    server.run("login.sql", LOGIN, &variables).await?;
    if admin.name.eq_ignore_ascii_case(FIRST_LOGIN) {
        server.goes_by(&admin.password);
    }
    Ok(())
}

/// A text as SQL Server keeps it, in hexadecimal.
fn digits(text: &str) -> String {
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    hex::encode(bytes)
}
