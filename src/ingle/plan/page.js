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
      runtime: model.runtime_bytes + context * model.rope_bytes,
    };
  };

  const total = (categories) =>
    Object.entries(categories).reduce((sum, [name, n]) => (name === "experts_streamed" ? sum : sum + n), 0);

  const seen = (group, tokens) => (group.window ? Math.min(tokens, group.window) : tokens);

  const weightsRead = (model, tokens) => {
    const experts = model.num_local_experts;
    const share = experts ? 1 - (1 - model.num_experts_per_tok / experts) ** tokens : 0;
    return model.dense_read_bytes + model.experts_bytes * share + tokens * model.embedding_row_bytes;
  };

  const sum = (model, term) => model.attention.reduce((all, group) => all + term(group), 0);

  const readSeconds = (machine, bytes) => bytes / (machine.read_bytes_per_s * machine.decode_efficiency);
  const workSeconds = (machine, flops) => flops / (machine.ops_per_s * machine.prefill_efficiency);

  const decodeSeconds = (model, machine, context, batch) => {
    const kv = sum(model, (g) => g.layers * g.token_values * model.kv_value_bytes * seen(g, context));
    const pairs = sum(model, (g) => g.flops_per_pair * seen(g, context));
    const reading = readSeconds(machine, weightsRead(model, batch) + batch * kv);
    const working = workSeconds(machine, batch * (model.layer_flops + model.head_flops + pairs));
    return Math.max(reading, working) + model.num_hidden_layers * machine.layer_overhead_s;
  };

  const prefillSeconds = (model, machine, tokens) => {
    const chunks = Math.ceil(tokens / machine.chunk_tokens);
    const attention = sum(model, (g) => {
      const s = seen(g, tokens);
      return g.flops_per_pair * ((s * (s + 1)) / 2 + (tokens - s) * g.window);
    });
    const flops = tokens * model.layer_flops + model.head_flops + attention;
    const read = chunks * weightsRead(model, Math.min(tokens, machine.chunk_tokens));
    const overhead = chunks * model.num_hidden_layers * machine.layer_overhead_s;
    return Math.max(workSeconds(machine, flops), readSeconds(machine, read)) + overhead;
  };

  const forecast = (table, model, machine, context, batch) => {
    const prompt = Math.min(table.prompt_tokens, context);
    const first = prefillSeconds(model, machine, prompt);
    return {
      load_s: model.file_bytes / machine.disk_bytes_per_s,
      ttft_s: first,
      prefill_tokens_per_s: prompt / first,
      decode_tokens_per_s: batch / decodeSeconds(model, machine, context, batch),
    };
  };

  return { memory, total, forecast };
})();
