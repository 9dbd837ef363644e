// An SFTP server on npm's ssh2, written as its documentation shows: flags by `flagsToString`, one callback for each
// request, files of Node's `fs`. Requests run at the same time and are answered as each one finishes.
//
//   node npm_ssh2_server.js PORT ROOT HOST_KEY CLIENT_KEY_LINE

'use strict';
const fs = require('fs');
const path = require('path');
const { Server, utils } = require('ssh2');

const { STATUS_CODE, flagsToString } = utils.sftp;
const [port, root, hostKey, clientKey] = process.argv.slice(2);
const allowed = utils.parseKey(clientKey).getPublicSSH();

function real(name) {
  return path.join(root, path.posix.normalize(`/${name}`));
}

function code(error) {
  if (!error) return STATUS_CODE.OK;
  if (error.code === 'ENOENT') return STATUS_CODE.NO_SUCH_FILE;
  if (error.code === 'EACCES') return STATUS_CODE.PERMISSION_DENIED;
  return STATUS_CODE.FAILURE;
}

function attrs(stats) {
  const [atime, mtime] = [Math.floor(stats.atimeMs / 1000), Math.floor(stats.mtimeMs / 1000)];
  return { mode: stats.mode, uid: stats.uid, gid: stats.gid, size: stats.size, atime, mtime };
}

function serve(sftp) {
  const open = new Map();
  let count = 0;

  function keep(id, entry) {
    const handle = Buffer.alloc(4);
    handle.writeUInt32BE(count, 0);
    open.set(count++, entry);
    sftp.handle(id, handle);
  }
  const entry = (handle) => open.get(handle.readUInt32BE(0));
  const done = (id) => (error) => sftp.status(id, code(error));
  const look = (id) => (error, stats) => (error ? sftp.status(id, code(error)) : sftp.attrs(id, attrs(stats)));

  sftp.on('OPEN', (id, name, flags) => {
    fs.open(real(name), flagsToString(flags), (error, fd) => (error ? done(id)(error) : keep(id, { fd })));
  }).on('WRITE', (id, handle, offset, data) => {
    fs.write(entry(handle).fd, data, 0, data.length, offset, done(id));
  }).on('READ', (id, handle, offset, length) => {
    fs.read(entry(handle).fd, Buffer.alloc(length), 0, length, offset, (error, size, data) => {
      if (error) done(id)(error);
      else if (size) sftp.data(id, data.subarray(0, size));
      else sftp.status(id, STATUS_CODE.EOF);
    });
  }).on('FSTAT', (id, handle) => {
    fs.fstat(entry(handle).fd, look(id));
  }).on('FSETSTAT', (id, handle, asked) => {
    const { fd } = entry(handle);
    if (asked.mode !== undefined) fs.fchmodSync(fd, asked.mode & 0o7777);
    if (asked.mtime !== undefined) fs.futimesSync(fd, asked.atime, asked.mtime);
    done(id)();
  }).on('CLOSE', (id, handle) => {
    const { fd } = entry(handle);
    open.delete(handle.readUInt32BE(0));
    if (fd === undefined) done(id)();
    else fs.close(fd, done(id));
  }).on('STAT', (id, name) => {
    fs.stat(real(name), look(id));
  }).on('LSTAT', (id, name) => {
    fs.lstat(real(name), look(id));
  }).on('OPENDIR', (id, name) => {
    fs.readdir(real(name), (error, names) => (error ? done(id)(error) : keep(id, { folder: real(name), names })));
  }).on('READDIR', (id, handle) => {
    const listed = entry(handle);
    if (!listed.names.length) {
      sftp.status(id, STATUS_CODE.EOF);
      return;
    }
    sftp.name(id, listed.names.splice(0, 100).map((name) => {
      const stats = fs.lstatSync(path.join(listed.folder, name));
      return { filename: name, longname: name, attrs: attrs(stats) };
    }));
  }).on('MKDIR', (id, name) => {
    fs.mkdir(real(name), done(id));
  }).on('RMDIR', (id, name) => {
    fs.rmdir(real(name), done(id));
  }).on('REMOVE', (id, name) => {
    fs.unlink(real(name), done(id));
  }).on('RENAME', (id, from, to) => {
    if (fs.existsSync(real(to))) sftp.status(id, STATUS_CODE.FAILURE);
    else fs.rename(real(from), real(to), done(id));
  }).on('REALPATH', (id, name) => {
    sftp.name(id, [{ filename: path.posix.normalize(`/${name}`), longname: '', attrs: {} }]);
  });
}

new Server({ hostKeys: [fs.readFileSync(hostKey)] }, (client) => {
  client.on('error', () => {}).on('authentication', (login) => {
    const { key } = login;
    if (login.method !== 'publickey' || !key.data.equals(allowed)) {
      login.reject(['publickey']);
    } else if (!login.signature
        || utils.parseKey(clientKey).verify(login.blob, login.signature, login.hashAlgo)) {
      login.accept();
    } else {
      login.reject(['publickey']);
    }
  }).on('ready', () => {
    client.on('session', (accept) => {
      accept().on('sftp', (acceptSftp) => serve(acceptSftp()));
    });
  });
}).listen(Number(port), '127.0.0.1');
