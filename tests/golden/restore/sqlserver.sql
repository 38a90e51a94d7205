-- Restores the databases of s3://store.example:9000/dr-backups/orders/ to 2026-11-20T02:00:00Z.
SET NOCOUNT ON;
SET XACT_ABORT ON;
IF EXISTS (SELECT 1 FROM sys.credentials WHERE name = N's3://store.example:9000/dr-backups')
  DROP CREDENTIAL [s3://store.example:9000/dr-backups];
CREATE CREDENTIAL [s3://store.example:9000/dr-backups] WITH IDENTITY = 'S3 Access Key',
  SECRET = '$(S3_ACCESS_KEY):$(S3_SECRET_KEY)';
GO
-- Bob's: sql1/Bob's/FULL/2026-11-20T01:05:00Z
DECLARE @files TABLE (LogicalName nvarchar(128), PhysicalName nvarchar(260), Type char(1), FileGroupName nvarchar(128), Size numeric(20,0), MaxSize numeric(20,0), FileId bigint, CreateLSN numeric(25,0), DropLSN numeric(25,0), UniqueId uniqueidentifier, ReadOnlyLSN numeric(25,0), ReadWriteLSN numeric(25,0), BackupSizeInBytes bigint, SourceBlockSize int, FileGroupId int, LogGroupGUID uniqueidentifier, DifferentialBaseLSN numeric(25,0), DifferentialBaseGUID uniqueidentifier, IsReadOnly bit, IsPresent bit, TDEThumbprint varbinary(32), SnapshotUrl nvarchar(360));
INSERT INTO @files EXEC (N'RESTORE FILELISTONLY FROM URL = N''s3://store.example:9000/dr-backups/orders/sql1/Bob''''s/FULL/sql1_Bob''''s_FULL_20261120_030500.bak''');
DECLARE @restore nvarchar(max) = N'RESTORE DATABASE [Bob''s] FROM URL = N''s3://store.example:9000/dr-backups/orders/sql1/Bob''''s/FULL/sql1_Bob''''s_FULL_20261120_030500.bak'' WITH NORECOVERY, STATS = 10';
SELECT @restore = @restore + N', MOVE N''' + REPLACE(LogicalName, N'''', N'''''') + N''' TO N'''
  + REPLACE(N'/var/opt/mssql/data/Bob''s_', N'''', N'''''') + CAST(FileId AS nvarchar(20))
  + CASE Type WHEN 'D' THEN IIF(FileId = 1, N'.mdf', N'.ndf') WHEN 'L' THEN N'.ldf' ELSE N'' END + N''''
FROM @files;
EXEC (@restore);
RESTORE LOG [Bob's] FROM URL = N's3://store.example:9000/dr-backups/orders/sql1/Bob''s/LOG/sql1_Bob''s_LOG_20261120_031000.trn' WITH NORECOVERY, STOPAT = N'2026-11-20T04:00:00';
RESTORE LOG [Bob's] FROM URL = N's3://store.example:9000/dr-backups/orders/sql1/Bob''s/LOG/sql1_Bob''s_LOG_20261120_034000.trn' WITH NORECOVERY, STOPAT = N'2026-11-20T04:00:00';
RESTORE LOG [Bob's] FROM URL = N's3://store.example:9000/dr-backups/orders/sql1/Bob''s/LOG/sql1_Bob''s_LOG_20261120_041000.trn' WITH NORECOVERY, STOPAT = N'2026-11-20T04:00:00';
GO
-- Shop: sql1/Shop/FULL/2026-11-20T01:00:00Z
DECLARE @files TABLE (LogicalName nvarchar(128), PhysicalName nvarchar(260), Type char(1), FileGroupName nvarchar(128), Size numeric(20,0), MaxSize numeric(20,0), FileId bigint, CreateLSN numeric(25,0), DropLSN numeric(25,0), UniqueId uniqueidentifier, ReadOnlyLSN numeric(25,0), ReadWriteLSN numeric(25,0), BackupSizeInBytes bigint, SourceBlockSize int, FileGroupId int, LogGroupGUID uniqueidentifier, DifferentialBaseLSN numeric(25,0), DifferentialBaseGUID uniqueidentifier, IsReadOnly bit, IsPresent bit, TDEThumbprint varbinary(32), SnapshotUrl nvarchar(360));
INSERT INTO @files EXEC (N'RESTORE FILELISTONLY FROM URL = N''s3://store.example:9000/dr-backups/orders/sql1/Shop/FULL/sql1_Shop_FULL_20261120_030000_1.bak'', URL = N''s3://store.example:9000/dr-backups/orders/sql1/Shop/FULL/sql1_Shop_FULL_20261120_030000_2.bak''');
DECLARE @restore nvarchar(max) = N'RESTORE DATABASE [Shop] FROM URL = N''s3://store.example:9000/dr-backups/orders/sql1/Shop/FULL/sql1_Shop_FULL_20261120_030000_1.bak'', URL = N''s3://store.example:9000/dr-backups/orders/sql1/Shop/FULL/sql1_Shop_FULL_20261120_030000_2.bak'' WITH NORECOVERY, STATS = 10';
SELECT @restore = @restore + N', MOVE N''' + REPLACE(LogicalName, N'''', N'''''') + N''' TO N'''
  + REPLACE(N'/var/opt/mssql/data/Shop_', N'''', N'''''') + CAST(FileId AS nvarchar(20))
  + CASE Type WHEN 'D' THEN IIF(FileId = 1, N'.mdf', N'.ndf') WHEN 'L' THEN N'.ldf' ELSE N'' END + N''''
FROM @files;
EXEC (@restore);
-- Shop: sql1/Shop/DIFF/2026-11-20T01:30:00Z
RESTORE DATABASE [Shop] FROM URL = N's3://store.example:9000/dr-backups/orders/sql1/Shop/DIFF/sql1_Shop_DIFF_20261120_033000.bak' WITH NORECOVERY, STATS = 10;
RESTORE LOG [Shop] FROM URL = N's3://store.example:9000/dr-backups/orders/sql1/Shop/LOG/sql1_Shop_LOG_20261120_034000.trn' WITH NORECOVERY, STOPAT = N'2026-11-20T04:00:00';
RESTORE LOG [Shop] FROM URL = N's3://store.example:9000/dr-backups/orders/sql1/Shop/LOG/sql1_Shop_LOG_20261120_041000.trn' WITH NORECOVERY, STOPAT = N'2026-11-20T04:00:00';
GO
-- All of them are at the moment: now they may be opened.
RESTORE DATABASE [Bob's] WITH RECOVERY;
RESTORE DATABASE [Shop] WITH RECOVERY;
DROP CREDENTIAL [s3://store.example:9000/dr-backups];
