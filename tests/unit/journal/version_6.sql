PRAGMA application_id = 1633907577;
PRAGMA user_version = 6;
BEGIN TRANSACTION;
CREATE TABLE drifts (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    since REAL NOT NULL,
    now_kind CHECK (now_kind BETWEEN 1 AND 4), now_size CHECK (now_size < x''), now_mtime
) WITHOUT ROWID;
CREATE TABLE held (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4), source_size, source_mtime, source_ctime, source_inode, source_mode
) WITHOUT ROWID;
CREATE TABLE intents (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    final BLOB, size, mtime
) WITHOUT ROWID;
INSERT INTO "intents" VALUES(X'642F2E7431',X'642F6E6577',6,7);
INSERT INTO "intents" VALUES(X'642F2E7432',NULL,NULL,NULL);
CREATE TABLE kept (
    temporary BLOB NOT NULL PRIMARY KEY CHECK (temporary >= x''),
    final BLOB NOT NULL CHECK (final >= x''),
    source_size NOT NULL CHECK (source_size < x''), source_mtime, source_ctime, source_inode, source_mode,
    sent NOT NULL CHECK (sent < x''), at REAL NOT NULL, is_complete INTEGER NOT NULL,
    size NOT NULL CHECK (size < x''), mtime, mode, digest BLOB, checksum BLOB
) WITHOUT ROWID;
INSERT INTO "kept" VALUES(X'642F2E7433',X'642F626967',9,7,7,NULL,NULL,3,1.0,0,0,NULL,NULL,NULL,NULL);
CREATE TABLE leaving (path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''), since REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('name','site');
INSERT INTO "meta" VALUES('profile','p');
INSERT INTO "meta" VALUES('surveyed','1');
CREATE TABLE publication (
    position INTEGER PRIMARY KEY,
    temporary BLOB NOT NULL UNIQUE CHECK (temporary >= x''),
    rank INTEGER NOT NULL,
    aside BLOB,
    replaced_kind CHECK (replaced_kind BETWEEN 1 AND 4), replaced_size, replaced_mtime,
    target_size, target_mtime, target_ctime, target_inode, target_mode
);
CREATE TABLE records (
    directory BLOB NOT NULL CHECK (directory >= x''),
    name BLOB NOT NULL CHECK (name >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4),
    source_size CHECK (source_size < x''), source_mtime, source_ctime, source_inode,
    target_kind NOT NULL CHECK (target_kind BETWEEN 1 AND 4),
    target_size NOT NULL CHECK (target_size < x''), target_mtime, target_ctime, target_inode,
    digest BLOB, checksum BLOB, source_mode, target_mode,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
INSERT INTO "records" VALUES(X'',X'64',2,0,5,NULL,NULL,2,0,5,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "records" VALUES(X'64',X'636166E9',1,5,'9223372036854775808','9223372036854775808',NULL,1,5,7,7,NULL,NULL,X'02636865636B73756D',NULL,NULL);
INSERT INTO "records" VALUES(X'64',X'73616D65',1,3,9,9,11,1,3,0,0,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE runs (id INTEGER PRIMARY KEY, started_at REAL NOT NULL, report TEXT);
CREATE TABLE trash (
    position INTEGER PRIMARY KEY,
    run INTEGER NOT NULL, path BLOB NOT NULL CHECK (path >= x''), because INTEGER NOT NULL, place BLOB,
    old_kind CHECK (old_kind BETWEEN 1 AND 4), old_size, old_mtime, old_mode,
    now_kind CHECK (now_kind BETWEEN 1 AND 4), now_size, now_mtime, now_mode,
    is_open INTEGER NOT NULL
);
CREATE TABLE trash_runs (
    run INTEGER PRIMARY KEY, directory BLOB NOT NULL, at REAL NOT NULL, is_undo INTEGER NOT NULL
);
CREATE TABLE troubles (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    failures INTEGER NOT NULL CHECK (failures < x''), since REAL NOT NULL, failed_at REAL NOT NULL, retry_at REAL,
    reason BLOB NOT NULL CHECK (reason >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4),
    source_size CHECK (source_size < x''), source_mtime, source_ctime, source_inode
) WITHOUT ROWID;
CREATE VIEW tree AS SELECT
    CAST(CASE WHEN directory = x'' THEN name ELSE directory || '/' || name END AS TEXT) AS path,
    CASE WHEN source_kind IS NULL THEN 'foreign' ELSE 'ours' END AS owner,
    CASE target_kind WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'link' ELSE 'other' END AS kind,
    target_size AS size,
    datetime(source_mtime / 1000000000, 'unixepoch') AS source_time,
    datetime(target_mtime / 1000000000, 'unixepoch') AS target_time
    FROM records;
CREATE INDEX directories ON records (directory, name, source_kind) WHERE target_kind = 2;
CREATE INDEX trash_places ON trash (place);
CREATE INDEX trash_of_runs ON trash (run);
CREATE INDEX files ON records (source_inode) WHERE source_kind = 1;
COMMIT;
