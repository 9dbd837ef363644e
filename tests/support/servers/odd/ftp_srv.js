// The npm package ftp-srv for one user: node ftp_srv.js ROOT PORT USER, with the password in PASSWORD
const { FtpSrv } = require("ftp-srv");

const [root, port, user] = process.argv.slice(2);
const password = process.env.PASSWORD;
const server = new FtpSrv({ url: `ftp://127.0.0.1:${port}`, pasv_url: "127.0.0.1", pasv_min: 20000, pasv_max: 29999 });
server.on("login", (login, accept, refuse) =>
  login.username === user && login.password === password ? accept({ root }) : refuse(new Error("no")));
server.listen();
