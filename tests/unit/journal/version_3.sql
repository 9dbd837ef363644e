PRAGMA application_id = 1633907577;
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE intents (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    final BLOB, size, mtime
) WITHOUT ROWID;
INSERT INTO "intents" VALUES(X'642F2E7431',X'642F6E6577',6,7);
INSERT INTO "intents" VALUES(X'642F2E7432',NULL,NULL,NULL);
CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('ceiling','3');
INSERT INTO "meta" VALUES('name','site');
INSERT INTO "meta" VALUES('profile','p');
INSERT INTO "meta" VALUES('root','{"root": {"path": "", "kind": "directory", "size": 0, "mtime_ns": 1, "ctime_ns": 2, "inode": 18446744073709551615, "mode": null}, "device": 66306}');
INSERT INTO "meta" VALUES('surveyed','1');
CREATE TABLE records (
    directory BLOB NOT NULL CHECK (directory >= x''),
    name BLOB NOT NULL CHECK (name >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4),
    source_size CHECK (source_size < x''), source_mtime, source_ctime, source_inode,
    target_kind NOT NULL CHECK (target_kind BETWEEN 1 AND 4),
    target_size NOT NULL CHECK (target_size < x''), target_mtime, target_ctime, target_inode,
    digest BLOB, checksum BLOB,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
INSERT INTO "records" VALUES(X'',X'64',2,0,5,NULL,NULL,2,0,5,NULL,NULL,NULL,NULL);
INSERT INTO "records" VALUES(X'64',X'636166E9',1,5,'9223372036854775808','9223372036854775808',NULL,1,5,7,7,NULL,X'',X'02636865636B73756D');
INSERT INTO "records" VALUES(X'64',X'666F726569676E',NULL,NULL,NULL,NULL,NULL,1,1,7,7,NULL,NULL,NULL);
INSERT INTO "records" VALUES(X'64',X'72616379',1,4,7,7,NULL,1,4,7,7,NULL,X'',X'01646967657374');
INSERT INTO "records" VALUES(X'64',X'73616D65',1,3,9,9,11,1,3,0,0,NULL,NULL,NULL);
CREATE TABLE runs (id INTEGER PRIMARY KEY, started_at REAL NOT NULL, report TEXT);
INSERT INTO "runs" VALUES(1,1.5,'{"exit_code": 1, "started_at": 1.5, "seconds": 2.25, "copied": 2, "copied_bytes": 0, "directories_made": 0, "removed": 0, "adopted": 0, "files_seen": 0, "hidden": 0, "failed": 1, "skipped": 0, "left": 0, "reconnects": 0, "parked": 1, "withheld": 0, "moved": 0, "failures": [["d/bad", "553 no"]], "refused": null, "drained": false, "cancelled": false, "error": null}');
INSERT INTO "runs" VALUES(2,4.5,NULL);
CREATE TABLE troubles (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    failures INTEGER NOT NULL CHECK (failures < x''), since REAL NOT NULL, failed_at REAL NOT NULL, retry_at REAL,
    reason BLOB NOT NULL CHECK (reason >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4),
    source_size CHECK (source_size < x''), source_mtime, source_ctime, source_inode
) WITHOUT ROWID;
INSERT INTO "troubles" VALUES(X'642F626164',3,10.0,20.0,30.0,X'353533206E6F',1,8,7,7,NULL);
INSERT INTO "troubles" VALUES(X'642F676F6E65',1,11.0,12.0,NULL,X'3535302062757379',NULL,NULL,NULL,NULL,NULL);
CREATE VIEW tree AS SELECT
    CAST(CASE WHEN directory = x'' THEN name ELSE directory || '/' || name END AS TEXT) AS path,
    CASE WHEN source_kind IS NULL THEN 'foreign' ELSE 'ours' END AS owner,
    CASE target_kind WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'link' ELSE 'other' END AS kind,
    target_size AS size,
    datetime(source_mtime / 1000000000, 'unixepoch') AS source_time,
    datetime(target_mtime / 1000000000, 'unixepoch') AS target_time
    FROM records;
CREATE INDEX files ON records (source_inode) WHERE source_kind = 1;
COMMIT;
