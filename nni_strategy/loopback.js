// NNI's manager listens on every interface and has no setting for it. This keeps it to this
// machine: NODE_OPTIONS="--require $(gennas nni path loopback.js)" nnictl create ...
// (only for the local training service: trials on other machines must reach the manager).
const { Server } = require('net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  const aPort = typeof port !== 'object' && /^[0-9]+$/.test(String(port));
  const host = aPort && typeof rest[0] !== 'string' ? ['127.0.0.1'] : [];
  return listen.call(this, port, ...host, ...rest);
};
