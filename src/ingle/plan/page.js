"use strict";
// The arithmetic of ingle's plan, on the same coefficients. No function here knows the document.
const ingle = (() => {
  const PAGE = 64;

  const kvBytes = (table, group, context, valueBytes) => {
    const all = Math.ceil(context / PAGE);
    const ring = Math.ceil((group.window + table.chunk_tokens) / PAGE) + 1;
    const pages = group.window ? Math.min(all, ring) : all;
    return group.layers * pages * PAGE * group.token_values * valueBytes;
  };

  // Bytes by category.
  const memory = (table, model, context, batch) => {
    const kv = { kv_full: 0, kv_sliding: 0 };
    for (const group of model.attention)
      kv[group.window ? "kv_sliding" : "kv_full"] +=
        batch * kvBytes(table, group, context, model.kv_value_bytes);
    return {
      ...model.weights,
      ...kv,
      activations: model.scratch_bytes + batch * model.logits_bytes,
      prefix_snapshots: 0,
      runtime: model.runtime_bytes + model.header_bytes + context * model.rope_bytes,
    };
  };

  const total = (categories) =>
    Object.entries(categories).reduce((sum, [name, n]) => (name === "experts_streamed" ? sum : sum + n), 0);

  const seen = (group, tokens) => (group.window ? Math.min(tokens, group.window) : tokens);

  const met = (model, tokens) =>
    model.num_local_experts ? 1 - (1 - model.num_experts_per_tok / model.num_local_experts) ** tokens : 0;

  const weightsRead = (model, tokens) =>
    model.dense_read_bytes + model.experts_bytes * met(model, tokens) + tokens * model.embedding_row_bytes;

  const sum = (model, term) => model.attention.reduce((all, group) => all + term(group), 0);

  const readSeconds = (machine, bytes) => bytes / (machine.read_bytes_per_s * machine.decode_efficiency);
  const workSeconds = (machine, flops) => flops / (machine.ops_per_s * machine.prefill_efficiency);

  const pairs = (group, tokens) => {
    const s = seen(group, tokens);
    return (s * (s + 1)) / 2 + (tokens - s) * group.window;
  };

  // Where kernels were measured, each kind of matrix and of attention has rates of its own.
  const EXPERTS = " experts";
  const kernel = (machine, name) =>
    machine.kernels.of[name] ||
    machine.kernels.of[name.endsWith(EXPERTS) ? name.slice(0, -EXPERTS.length) : name] || {
      read_bytes_per_s: machine.read_bytes_per_s,
      ops_per_s: machine.ops_per_s,
    };
  const attentionKernel = (machine, group) => kernel(machine, group.window ? "attention in windows" : "attention");
  const overheads = (model, machine) =>
    model.num_hidden_layers * machine.kernels.layer_s + machine.kernels.step_s;

  const matrixSeconds = (model, machine, tokens, outputs) =>
    model.matrices.reduce((all, m) => {
      const k = kernel(machine, m.kernel), rows = m.once ? outputs : tokens;
      const share = m.kernel.endsWith(EXPERTS) ? met(model, rows) : 1;
      return all + Math.max((m.nbytes * share) / k.read_bytes_per_s, (m.flops * rows) / k.ops_per_s);
    }, 0);

  const measuredDecode = (model, machine, context, batch) => {
    const attention = sum(model, (g) => {
      const k = attentionKernel(machine, g), n = batch * seen(g, context);
      const bytes = g.layers * g.token_values * model.kv_value_bytes * n;
      return Math.max(bytes / k.read_bytes_per_s, (g.flops_per_pair * n) / k.ops_per_s);
    });
    const seconds = matrixSeconds(model, machine, batch, batch) + attention + overheads(model, machine);
    return seconds / machine.decode_efficiency;
  };

  const measuredPrefill = (model, machine, tokens) => {
    const chunks = Math.floor(tokens / machine.chunk_tokens), rest = tokens % machine.chunk_tokens;
    let seconds = chunks && chunks * matrixSeconds(model, machine, machine.chunk_tokens, 1);
    if (rest) seconds += matrixSeconds(model, machine, rest, 1);
    seconds += sum(model, (g) => (g.flops_per_pair * pairs(g, tokens)) / attentionKernel(machine, g).ops_per_s);
    seconds += (chunks + (rest ? 1 : 0)) * overheads(model, machine);
    return seconds / machine.prefill_efficiency;
  };

  const decodeSeconds = (model, machine, context, batch) => {
    if (machine.kernels) return measuredDecode(model, machine, context, batch);
    const kv = sum(model, (g) => g.layers * g.token_values * model.kv_value_bytes * seen(g, context));
    const pairs = sum(model, (g) => g.flops_per_pair * seen(g, context));
    const reading = readSeconds(machine, weightsRead(model, batch) + batch * kv);
    const working = workSeconds(machine, batch * (model.layer_flops + model.head_flops + pairs));
    return Math.max(reading, working) + model.num_hidden_layers * machine.layer_overhead_s;
  };

  const prefillSeconds = (model, machine, tokens) => {
    if (machine.kernels) return measuredPrefill(model, machine, tokens);
    const chunks = Math.ceil(tokens / machine.chunk_tokens);
    const attention = sum(model, (g) => g.flops_per_pair * pairs(g, tokens));
    const flops = tokens * model.layer_flops + model.head_flops + attention;
    const read = chunks * weightsRead(model, Math.min(tokens, machine.chunk_tokens));
    const overhead = chunks * model.num_hidden_layers * machine.layer_overhead_s;
    return Math.max(workSeconds(machine, flops), readSeconds(machine, read)) + overhead;
  };

  const loadSeconds = (model, machine) =>
    model.file_bytes / machine.disk_bytes_per_s + model.metadata_bytes / machine.header_bytes_per_s +
    model.mapped_bytes / machine.touch_bytes_per_s + copySeconds(model, machine);

  const copySeconds = (model, machine) =>
    !machine.kernels ? 0 : Object.entries(model.copied_bytes).reduce((all, [name, bytes]) => {
      const rate = kernel(machine, name).repack_bytes_per_s;
      return all + (rate ? bytes / rate : 0);
    }, 0);

  const forecast = (table, model, machine, context, batch) => {
    const prompt = Math.min(table.prompt_tokens, context);
    const first = prefillSeconds(model, machine, prompt);
    return {
      load_s: loadSeconds(model, machine),
      ttft_s: first,
      prefill_tokens_per_s: prompt / first,
      decode_tokens_per_s: batch / decodeSeconds(model, machine, context, batch),
    };
  };

  return { memory, total, forecast };
})();
