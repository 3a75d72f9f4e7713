// The networks of a model in LiteRT.js: its files, fetched and compiled.

/** A stream of the bytes of an address; `progress` hears how many came. Unpacks what ends in .gz. */
export async function streamOf(url, progress = () => {}) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const counted = new TransformStream({
    transform(chunk, controller) {
      progress(chunk.byteLength);
      controller.enqueue(chunk);
    },
  });
  let body = response.body.pipeThrough(counted);
  // Some hosts say that it is compressed, and the browser has unpacked it already.
  if (url.pathname.endsWith(".gz") && !response.headers.get("content-encoding")) {
    body = body.pipeThrough(new DecompressionStream("gzip"));
  }
  return body;
}

/** All of them. */
export async function bytesOf(url, progress) {
  return new Uint8Array(await new Response(await streamOf(url, progress)).arrayBuffer());
}

/** Compiles the graphs of a manifest; gives functions of arrays by name. */
export async function compiled(liteRt, manifest, contents) {
  const graphs = {};
  for (const [name, described] of Object.entries(manifest.graphs)) {
    const model = await liteRt.loadAndCompile(contents[name], { accelerator: "wasm" });
    graphs[name] = (inputs) => run(liteRt, model.signatures[name], described, inputs);
  }
  return graphs;
}

async function run(liteRt, signature, described, inputs) {
  const given = {};
  for (const [name, array] of Object.entries(inputs)) {
    given[name] = liteRt.Tensor.fromTypedArray(array, described.inputs[name].shape);
  }
  const found = await signature.run(given), arrays = {};
  for (const tensor of Object.values(given)) tensor.delete();
  for (const [name, tensor] of Object.entries(found)) {
    arrays[name] = tensor.toTypedArray();
    tensor.delete();
  }
  return arrays;
}
