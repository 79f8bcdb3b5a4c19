// As ../forms/read.py, with the parsers of Node.
const busboy = require("busboy");
const { formidable } = require("formidable");
const multiparty = require("multiparty");
const qs = require("qs");
const querystring = require("node:querystring");
const readline = require("node:readline");
const { Readable } = require("node:stream");

function request(type, body) {
  const stream = Readable.from([body]);
  stream.headers = { "content-type": type, "content-length": String(body.length) };
  return stream;
}

const parsers = {
  busboy: (type, body) => new Promise((resolve, reject) => {
    const found = [];
    const parser = busboy({ headers: { "content-type": type } });
    parser.on("field", (name, value) => found.push([name, value]));
    parser.on("file", (name, stream) => stream.resume());
    parser.on("close", () => resolve(found)).on("error", reject);
    parser.end(body);
  }),
  formidable: async (type, body) => {
    const [fields] = await formidable({ allowEmptyFiles: true, minFileSize: 0, fileWriteStreamHandler: () => new (require("node:stream").Writable)({ write: (a, b, done) => done() }) }).parse(request(type, body));
    return Object.entries(fields).flatMap(([name, values]) => [values].flat().map((value) => [name, String(value)]));
  },
  multiparty: (type, body) => new Promise((resolve, reject) => {
    if (!type.startsWith("multipart/")) return reject(new Error("no"));
    const found = [];
    const form = new multiparty.Form();
    form.on("field", (name, value) => found.push([name, value]));
    form.on("part", (part) => part.resume());
    form.on("close", () => resolve(found)).on("error", reject);
    form.parse(request(type, body));
  }),
  qs: async (type, body) => flat(type, qs.parse(body.toString("utf8"), { parameterLimit: 10000 })),
  querystring: async (type, body) => flat(type, querystring.parse(body.toString("utf8"))),
};

function flat(type, form) {
  if (!type.startsWith("application/x-www-form-urlencoded")) throw new Error("no");
  const texts = (value) => (typeof value === "object" && value !== null ? Object.values(value).flatMap(texts) : [String(value)]);
  return Object.entries(form).flatMap(([name, value]) => texts(value).map((text) => [name, text]));
}

process.on("uncaughtException", () => {});
(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { type, body } = JSON.parse(line);
    const out = {};
    for (const [name, parse] of Object.entries(parsers)) {
      const late = new Promise((resolve) => setTimeout(resolve, 1000, null).unref());
      try {
        // Some take bytes that are not escaped for other letters: the value is there, and cannot be compared.
        const bytes = Buffer.from(body, "hex");
        if (type.startsWith("application/x-") && bytes.some((byte) => byte > 127)) throw new Error("no");
        const fields = await Promise.race([parse(type, bytes), late]);
        out[name] = fields && fields.map((field) => field.map(String));
      } catch {
        out[name] = null;
      }
    }
    console.log(JSON.stringify(out));
  }
  process.exit(0);
})();
