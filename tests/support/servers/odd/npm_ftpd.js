// The npm package ftpd for one user: node npm_ftpd.js ROOT PORT USER, with the password in PASSWORD
const { FtpServer } = require("ftpd");

const [root, port, user] = process.argv.slice(2);
const password = process.env.PASSWORD;
const server = new FtpServer("127.0.0.1", { getInitialCwd: () => "/", getRoot: () => root });
server.on("error", (error) => console.error(error));
server.on("client:connected", (connection) => {
  connection.on("command:user", (name, accept, refuse) => (name === user ? accept() : refuse()));
  connection.on("command:pass", (word, accept, refuse) => (word === password ? accept(user) : refuse()));
});
server.debugging = 0;
server.listen(Number(port));
