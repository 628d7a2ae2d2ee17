// Put, get, scan, watch, cancel and deadline by @grpc/grpc-js. Arguments: the server's address, the folder proto/.
'use strict';
const assert = require('assert');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [, , address, proto] = process.argv;
const files = ['kv', 'changes', 'admin'].map((name) => `varve/v1/${name}.proto`);
const { varve } = grpc.loadPackageDefinition(
  loader.loadSync(files, { includeDirs: [proto], longs: String, defaults: true, oneofs: true }));
const credentials = grpc.credentials.createInsecure();
const kv = new varve.v1.KV(address, credentials);
const changes = new varve.v1.Changes(address, credentials);

const ask = (client, method, request, options = {}) => new Promise((resolve, reject) =>
  client[method](request, options, (error, answer) => (error ? reject(error) : resolve(answer))));
const refused = (code, promise) => promise.then(
  () => assert.fail('not refused'), (error) => { assert.strictEqual(error.code, code, error.message); return error; });
const all = (stream) => new Promise((resolve, reject) => {
  const messages = [];
  stream.on('data', (m) => messages.push(m)).on('error', reject).on('end', () => resolve(messages));
});
const raw = (text) => ({ raw: Buffer.from(text) });

async function values() {
  const { version } = await ask(kv, 'Put', { collection: 'c', key: Buffer.from('k'), value: raw('one') });
  await ask(kv, 'Put', { collection: 'c', key: Buffer.from('k'), value: { json: '{"a": 1}' } });
  const now = await ask(kv, 'Get', { collection: 'c', key: Buffer.from('k'), documentFormat: 'DOCUMENT_FORMAT_JSON' });
  assert.deepStrictEqual(JSON.parse(now.record.value.json), { a: 1 });
  const past = await ask(kv, 'Get', { collection: 'c', key: Buffer.from('k'), at: { version } });
  assert.strictEqual(past.record.value.raw.toString(), 'one');
  const error = await refused(grpc.status.NOT_FOUND, ask(kv, 'Get', { collection: 'c', key: Buffer.from('x') }));
  assert.strictEqual(error.metadata.get('grpc-status-details-bin').length, 1);
  await refused(grpc.status.FAILED_PRECONDITION,
    ask(kv, 'CompareAndSet', { collection: 'c', key: Buffer.from('k'), value: raw('x') }));
}

async function scans() {
  const operations = [];
  for (let i = 0; i < 3000; i++) {
    operations.push({ collection: 's', key: Buffer.from(String(i).padStart(5, '0')), put: raw('v'.repeat(100)) });
  }
  await ask(kv, 'BatchWrite', { operations });
  const messages = await all(kv.Scan({ collection: 's' }));
  const keys = messages.flatMap((m) => m.records.map((r) => r.key.toString()));
  assert.deepStrictEqual(keys, operations.map((o) => o.key.toString()));
}

async function watching() {
  const watch = changes.Watch({ collection: 'w', values: true });
  const seen = [];
  await new Promise((resolve, reject) => {
    let first = true;
    watch.on('error', reject).on('data', (m) => {
      if (first) {
        first = false;
        for (let i = 0; i < 20; i++) {
          ask(kv, 'Put', { collection: 'w', key: Buffer.from(String(i)), value: raw('v') }).catch(reject);
        }
      }
      seen.push(...m.changes.map((c) => c.record.key.toString()));
      if (seen.length === 20) resolve();
    });
  });
  assert.deepStrictEqual(seen.sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => String(i)));
  const ended = new Promise((resolve) => watch.removeAllListeners('error').on('error', resolve));
  watch.cancel();
  assert.strictEqual((await ended).code, grpc.status.CANCELLED);
  await refused(grpc.status.DEADLINE_EXCEEDED, all(changes.Watch({}, { deadline: Date.now() + 500 })));
}

(async () => {
  await values();
  await scans();
  await watching();
  kv.close();
  changes.close();
  console.log('ok');
})().catch((error) => { console.error(error); process.exit(1); });
