// @grpc/grpc-js against the toy service. Arguments: port, directory with ca.crt, alice.crt and
// alice.key, one of gRPC's interoperability cases, or full_speed=N for N chunks of 64 KiB. Exit
// status 0: it held.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const SPECIAL =
  "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n";
const { status } = grpc;
const [port, directory, chosen] = process.argv.slice(2);
const read = (name) => fs.readFileSync(path.join(directory, name));
const credentials = grpc.credentials.createSsl(read("ca.crt"), read("alice.key"), read("alice.crt"));
const options = { longs: Number, keepCase: true, defaults: true };
const schema = loader.loadSync(path.join(__dirname, "toy.proto"), options);
const { toy } = grpc.loadPackageDefinition(schema);
const client = new toy.Toy(`127.0.0.1:${port}`, credentials);
const absent = new toy.Absent(`127.0.0.1:${port}`, credentials);

// The answer of a unary call; its error is thrown.
const unary = (method, value, metadata = new grpc.Metadata(), callOptions = {}, of = client) =>
  new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer.value));
    of[method]({ value }, metadata, callOptions, done);
  });

const fails = async (promise, code, details) => {
  const error = await promise.then(() => assert.fail("no error"), (reason) => reason);
  assert.equal(error.code, code, error.message);
  if (details !== undefined) assert.equal(error.details, details);
  return error;
};

// The messages of a stream up to its end, and what it failed with.
const all = (call) =>
  new Promise((resolve) => {
    const values = [];
    call.on("data", (message) => values.push(message.value));
    call.on("error", (error) => resolve({ values, error }));
    call.on("end", () => resolve({ values }));
  });

const cases = {
  async empty_unary() {
    assert.equal((await unary("Echo", Buffer.alloc(0))).length, 0);
  },
  async large_unary() {
    const data = Buffer.alloc(2_560_000, "0123456789abcdefg");
    assert.ok(data.equals(await unary("Echo", data)));
  },
  async client_streaming() {
    const total = await new Promise((resolve, reject) => {
      const call = client.Total((error, answer) => (error ? reject(error) : resolve(answer.value)));
      for (let value = 0; value < 500; value += 1) call.write({ value });
      call.end();
    });
    assert.equal(total, 124750);
  },
  async server_streaming() {
    const { values, error } = await all(client.Count({ value: 2000 }));
    assert.equal(error, undefined);
    assert.deepEqual(values, Array.from({ length: 2000 }, (_, number) => number));
  },
  async ping_pong() {
    const call = client.Both();
    const answers = call[Symbol.asyncIterator]();
    for (let value = 0; value < 20; value += 1) {
      call.write({ value });
      assert.equal((await answers.next()).value.value, value);
    }
    call.end();
    assert.ok((await answers.next()).done);
  },
  async cancel_after_begin() {
    await fails(
      new Promise((resolve, reject) => {
        client.Total((error) => (error ? reject(error) : resolve())).cancel();
      }),
      status.CANCELLED,
    );
  },
  async cancel_after_first_response() {
    const call = client.Both();
    call.once("data", () => call.cancel());
    const ended = all(call);
    call.write({ value: 1 });
    const { values, error } = await ended;
    assert.deepEqual(values, [1]);
    assert.equal(error.code, status.CANCELLED);
  },
  async timeout_on_sleeping_server() {
    await cases.empty_unary(); // connecting is not what takes the time
    const call = unary("Wait", "", undefined, { deadline: Date.now() + 500 });
    await fails(call, status.DEADLINE_EXCEEDED);
  },
  async status_code_and_message() {
    const text = "test status message";
    const request = `FAILED_PRECONDITION:${text}`;
    const error = await fails(unary("Fail", request), status.FAILED_PRECONDITION, text);
    const [details] = error.metadata.get("grpc-status-details-bin");
    assert.ok(details.includes("TOY"));
    const late = await all(client.FailLate({ value: "UNKNOWN" }));
    assert.deepEqual(late.values, ["UNKNOWN"]);
    assert.equal(late.error.code, status.UNKNOWN);
    assert.equal(late.error.details, "after a message");
  },
  async special_status_message() {
    await fails(unary("Fail", `UNKNOWN:${SPECIAL}`), status.UNKNOWN, SPECIAL);
  },
  async unimplemented_method() {
    await fails(unary("Nothing", ""), status.UNIMPLEMENTED);
  },
  async unimplemented_service() {
    await fails(unary("Echo", "", undefined, {}, absent), status.UNIMPLEMENTED);
  },
  async custom_metadata() {
    const metadata = new grpc.Metadata();
    metadata.set("x-grpc-test-echo-initial", "test_initial_metadata_value");
    metadata.set("x-grpc-test-echo-trailing-bin", Buffer.from([0xab, 0xab, 0xab]));
    await unary("Echo", Buffer.alloc(0), metadata);
  },
  async too_much_metadata() {
    const sibling = client.Both();
    const answers = sibling[Symbol.asyncIterator]();
    const echo = async (value) => {
      sibling.write({ value });
      assert.equal((await answers.next()).value.value, value);
    };
    await echo(1);
    const metadata = new grpc.Metadata();
    metadata.set("x", "y".repeat(20_000));
    await fails(unary("Echo", Buffer.alloc(0), metadata), status.RESOURCE_EXHAUSTED);
    await echo(2);
    sibling.end();
    assert.ok((await answers.next()).done);
  },
};

// As fast as it goes.
const fullSpeed = (chunks) =>
  new Promise((resolve, reject) => {
    let count = 0;
    const call = client.Flood({ value: chunks });
    call.on("data", (message) => {
      count += 1;
      if (message.value.length !== 65536) call.destroy(new Error("a chunk of another size"));
    });
    call.on("error", (error) => reject(new Error(`after ${count} chunks: ${error.message}`)));
    call.on("end", () => {
      assert.equal(count, chunks);
      resolve();
    });
  });

(async () => {
  const [name, number] = chosen.split("=");
  await (name === "full_speed" ? fullSpeed(Number(number)) : cases[name]());
  await cases.empty_unary(); // the connection has outlived it
  client.close();
  absent.close();
})();
