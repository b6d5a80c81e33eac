// Thread pool, weight matrices and tapes for Python. Shapes are checked here or in Tape::check;
// what is wrong raises ValueError before any work starts.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "engine/tape.h"
#include "kernels/dispatch.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace ingle;

namespace {

template <class T, int Dims>
using Array = nb::ndarray<const T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
// Rows that may lie apart, as the experts' biases in a packed file do.
using Rows = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;
template <class T, int Dims>
using Writable = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument(message);
}

const Kernels& kernels_named(const std::string& isa) {
    const Kernels* kernels = find_kernels(isa);
    require(kernels != nullptr, "instruction set '" + isa + "' cannot run on this CPU");
    return *kernels;
}

struct BoundMatrix {  // owns references to the arrays that hold tiles and scales
    std::shared_ptr<Matrix> matrix;
    Array<uint8_t, 2> tiles;
    std::optional<Array<float, 2>> row_scales;
};

// data: (matrices, bytes); the tiles of each begin `offset` bytes into its row.
BoundMatrix make_matrix(const std::string& format, Array<uint8_t, 2> data, int64_t offset,
                        int64_t tile_stride, int64_t rows, int64_t columns,
                        std::optional<Array<float, 2>> row_scales) {
    const WeightType type = weight_type(format);
    require(rows >= 1 && columns >= 1 && data.shape(0) >= 1, "a matrix needs rows and columns");
    require(tile_facts(type).float_bytes || columns % kBlock == 0, "columns must be a multiple of 32");
    require(!tile_facts(type).super_bytes || columns % kSuperColumns == 0,
            "columns must be a multiple of 256");
    const int64_t stride = static_cast<int64_t>(data.shape(1));
    auto matrix = std::make_shared<Matrix>();
    *matrix = {type, rows, columns, static_cast<int64_t>(data.shape(0)), data.data() + offset,
               tile_stride, stride};
    require(offset >= 0 && offset <= stride && tile_stride >= tile_bytes(type, columns) &&
                matrix->num_tiles() <= (stride - offset) / tile_stride,
            "tiles must lie inside the data");
    if (row_scales) {
        require(row_scales->shape(0) == data.shape(0) &&
                    static_cast<int64_t>(row_scales->shape(1)) == matrix->num_tiles() * kTileRows,
                "row scales must be (matrices, rows of whole tiles)");
        matrix->row_scales = row_scales->data();
    }
    return {std::move(matrix), std::move(data), std::move(row_scales)};
}

// float16 or float32
using KvPages = nb::ndarray<nb::ndim<5>, nb::c_contig, nb::device::cpu>;

struct KvArrays {  // (layers, pages, kv_heads, head_dim, 64), (layers, pages, kv_heads, 64, head_dim)
    KvPages keys, values;
    Array<int32_t, 2> page_tables;
};

KvType kv_type(const KvPages& pages) {
    const nb::dlpack::dtype found = pages.dtype();
    const bool is_float = found.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Float) && found.lanes == 1;
    require(is_float && (found.bits == 16 || found.bits == 32), "keys and values must be float16 or float32");
    return found.bits == 16 ? KvType::F16 : KvType::F32;
}

KvGroup kv_group(const KvArrays& a) {
    const KvType type = kv_type(a.keys);
    require(kv_type(a.values) == type, "keys and values must be of one type");
    require(a.keys.shape(4) == static_cast<size_t>(kPageTokens), "KV pages hold 64 positions");
    require(a.keys.shape(3) == a.values.shape(4) && a.values.shape(3) == a.keys.shape(4) &&
                a.keys.size() == a.values.size() && a.keys.shape(0) == a.values.shape(0),
            "keys and values must have matching shapes");
    return {static_cast<uint8_t*>(a.keys.data()), static_cast<uint8_t*>(a.values.data()), type,
            static_cast<int64_t>(a.keys.shape(0)),
            static_cast<int64_t>(a.keys.shape(1)),
            static_cast<int64_t>(a.keys.shape(2) * a.keys.shape(3) * a.keys.shape(4)),
            a.page_tables.data(), static_cast<int64_t>(a.page_tables.shape(1))};
}

using FilePlace = std::optional<std::pair<int, int64_t>>;

std::shared_ptr<FileTiles> in_file(const FilePlace& place) {
    return place ? std::make_shared<FileTiles>(place->first, place->second) : nullptr;
}

class BoundTape {
public:
    BoundTape(std::shared_ptr<Pool> pool, const std::string& isa, int64_t max_rows)
        : tape_(std::move(pool), kernels_named(isa), max_rows) {}
    BoundTape(const BoundTape&) = delete;
    BoundTape& operator=(const BoundTape&) = delete;

    int slot(int64_t width, int int8_parts) { return tape_.slot(width, int8_parts); }
    void embed(const BoundMatrix& table, const BoundMatrix* positions, int out, FilePlace table_at,
               FilePlace positions_at) {
        tape_.embed({keep(table), in_file(table_at)},
                    {positions ? keep(*positions) : nullptr, in_file(positions_at)}, out);
    }
    void select_outputs(int in, int out) { tape_.select_outputs(in, out); }
    void norm(int in, Array<float, 1> weight, std::optional<Array<float, 1>> bias, float eps, int out) {
        require(static_cast<int64_t>(weight.shape(0)) == width(in) &&
                    (!bias || bias->shape(0) == weight.shape(0)),
                "norm weight and bias must match the width");
        tape_.norm(in, keep(weight), bias ? keep(*bias) : nullptr, eps, out);
    }
    void linear(int in, const std::vector<BoundMatrix>& weights,
                const std::vector<std::optional<Array<float, 1>>>& biases, int out, bool add,
                int64_t column) {
        require(weights.size() == biases.size(), "one bias (or None) per weight");
        std::vector<LinearPart> parts;
        for (size_t i = 0; i < weights.size(); ++i) {
            parts.push_back(part(weights[i], biases[i], column));
            column += weights[i].matrix->rows;
        }
        tape_.linear(in, std::move(parts), out, add);
    }
    void logits(int in, const BoundMatrix& weight) { tape_.logits(in, keep(weight)); }
    void rescore(int in, const BoundMatrix& weight, int64_t count) { tape_.rescore(in, keep(weight), count); }
    void store_kv(int qkv, const AttentionShape& shape, std::optional<Array<float, 2>> cos,
                  std::optional<Array<float, 2>> sin, bool interleaved,
                  std::optional<Array<float, 1>> q_norm, std::optional<Array<float, 1>> k_norm,
                  float eps) {
        RopeTable rope{nullptr, nullptr, 0, interleaved};
        if (cos && sin) {
            require(cos->shape(1) * 2 == static_cast<size_t>(shape.head_dim) &&
                        cos->shape(0) == sin->shape(0) && cos->shape(1) == sin->shape(1),
                    "cos and sin must be (positions, head_dim / 2)");
            rope.cos = keep(*cos);
            rope.sin = keep(*sin);
            rope.positions = static_cast<int64_t>(cos->shape(0));
        }
        for (const auto* gain : {&q_norm, &k_norm})
            require(!*gain || (*gain)->shape(0) == static_cast<size_t>(shape.head_dim),
                    "head norms must have head_dim values");
        tape_.store_kv(qkv, shape, rope,
                       {q_norm ? keep(*q_norm) : nullptr, k_norm ? keep(*k_norm) : nullptr, eps});
    }
    void attend(int qkv, const AttentionShape& shape, std::optional<Array<float, 1>> sinks, int out) {
        require(!sinks || sinks->shape(0) == static_cast<size_t>(shape.num_heads), "one sink per query head");
        tape_.attend(qkv, shape, sinks ? keep(*sinks) : nullptr, out);
    }
    void gate_up(int in, const BoundMatrix* gate, std::optional<Array<float, 1>> gate_bias,
                 const BoundMatrix& up, std::optional<Array<float, 1>> up_bias,
                 const std::string& activation, int out, std::optional<int> up_in) {
        tape_.gate_up(in, gate ? part(*gate, gate_bias) : LinearPart{nullptr, nullptr, 0},
                      up_in.value_or(in), part(up, up_bias), activation_named(activation), out);
    }
    void round_inputs(int in, bool dynamic, bool symmetric, float scale, float zero, int out) {
        tape_.round_inputs(in, {dynamic, symmetric, scale, zero}, out);
    }
    void moe(int in, int router, const BoundMatrix& gate, std::optional<Rows> gate_bias,
             const BoundMatrix& up, std::optional<Rows> up_bias, const BoundMatrix& down,
             std::optional<Rows> down_bias, int num_experts_per_tok,
             const std::string& routing, bool renormalize, const std::string& activation,
             int residual) {
        require(routing == "softmax_of_top_k" || routing == "top_k_of_softmax", "unknown routing");
        const MoeShape shape{static_cast<int>(gate.matrix->num_matrices), num_experts_per_tok,
                             routing == "softmax_of_top_k" ? Routing::SoftmaxOfTopK : Routing::TopKOfSoftmax,
                             renormalize, activation_named(activation)};
        last_experts_ = shape.num_experts;
        tape_.moe(in, router, shape, stack(gate, gate_bias), stack(up, up_bias),
                  stack(down, down_bias), residual);
    }

    void watch(int in, Writable<double, 2> sums, Writable<int64_t, 1> counts) {
        require(sums.shape(0) == 1 && counts.shape(0) == 1 &&
                    static_cast<int64_t>(sums.shape(1)) == width(in),
                "sums must be (1, width) and counts (1,)");
        tape_.watch(in, keep(sums), keep(counts));
    }
    void watch_experts(int in, Writable<double, 2> in_sums, Writable<double, 2> inner_sums,
                       Writable<int64_t, 1> counts) {
        const size_t experts = counts.shape(0);
        require(static_cast<int>(experts) == last_experts_ && in_sums.shape(0) == experts &&
                    inner_sums.shape(0) == experts &&
                    static_cast<int64_t>(in_sums.shape(1)) == width(in) &&
                    static_cast<int64_t>(inner_sums.shape(1)) == tape_.last_inner_width(),
                "sums must be (experts, width) and counts (experts,)");
        tape_.watch_experts(in, keep(in_sums), keep(inner_sums), keep(counts));
    }

    void run(Array<int32_t, 1> ids, Array<int32_t, 1> positions, Array<int32_t, 1> sequences,
             Array<int32_t, 1> output_rows, const std::vector<KvArrays>& groups, int64_t num_sequences,
             Writable<float, 2> logits, int num_experts_per_tok) {
        BatchView batch;
        batch.num_experts_per_tok = num_experts_per_tok;
        batch.rows = static_cast<int64_t>(ids.shape(0));
        require(positions.shape(0) == ids.shape(0) && sequences.shape(0) == ids.shape(0),
                "ids, positions and sequences must have equal lengths");
        require(logits.shape(0) == output_rows.shape(0), "one row of logits per output row");
        batch.ids = ids.data();
        batch.positions = positions.data();
        batch.sequences = sequences.data();
        batch.output_rows = output_rows.data();
        batch.num_outputs = static_cast<int64_t>(output_rows.shape(0));
        batch.num_sequences = num_sequences;
        batch.logits = logits.data();
        batch.logits_stride = static_cast<int64_t>(logits.shape(1));
        for (const KvArrays& group : groups) {
            require(static_cast<int64_t>(group.page_tables.shape(0)) >= num_sequences, "one page table per sequence");
            batch.groups.push_back(kv_group(group));
        }
        nb::gil_scoped_release release;
        tape_.check(batch);
        tape_.run(batch);
    }

    int64_t max_rows(int num_experts_per_tok) const { return tape_.max_batch_rows(num_experts_per_tok); }
    int64_t scratch_bytes() const { return tape_.scratch_bytes(); }
    nb::list scratch_places() const {
        nb::list out;
        for (const Tape::Arena& a : tape_.arenas())
            out.append(nb::make_tuple(reinterpret_cast<uintptr_t>(a.memory.get()), a.bytes));
        return out;
    }
    int64_t num_steps() const { return tape_.num_steps(); }
    void set_timed(bool timed) { tape_.timed = timed; }
    bool timed() const { return tape_.timed; }
    nb::list shares() const {
        nb::list out;
        for (const Tape::Share& s : tape_.shares()) out.append(nb::make_tuple(s.step, s.work, s.wait));
        return out;
    }

private:
    static Activation activation_named(const std::string& name) {
        if (name == "silu") return Activation::Silu;
        if (name == "clamped_swiglu") return Activation::ClampedSwiglu;
        require(name == "gelu_tanh", "unknown activation");
        return Activation::GeluTanh;
    }
    LinearPart part(const BoundMatrix& weight, const std::optional<Array<float, 1>>& bias, int64_t column = 0) {
        require(!bias || static_cast<int64_t>(bias->shape(0)) == weight.matrix->rows,
                "bias must have one value per row");
        return {keep(weight), bias ? keep(*bias) : nullptr, column};
    }
    ExpertStack stack(const BoundMatrix& weight, const std::optional<Rows>& bias) {
        if (!bias) return {keep(weight), nullptr, 0};
        require(static_cast<int64_t>(bias->shape(0)) == weight.matrix->num_matrices &&
                    static_cast<int64_t>(bias->shape(1)) == weight.matrix->rows &&
                    (bias->shape(1) == 1 || bias->stride(1) == 1),
                "biases must be (experts, rows), each row in one piece");
        kept_rows_.push_back(*bias);
        return {keep(weight), bias->data(), bias->stride(0)};
    }
    int64_t width(int slot) const { return tape_.width(slot); }
    std::shared_ptr<Matrix> keep(const BoundMatrix& m) {
        kept_tiles_.push_back(m.tiles);
        if (m.row_scales) kept_tables_.push_back(*m.row_scales);
        return m.matrix;
    }
    const float* keep(const Array<float, 1>& a) {
        kept_vectors_.push_back(a);
        return a.data();
    }
    const float* keep(const Array<float, 2>& a) {
        kept_tables_.push_back(a);
        return a.data();
    }

    double* keep(const Writable<double, 2>& a) {
        kept_sums_.push_back(a);
        return a.data();
    }
    int64_t* keep(const Writable<int64_t, 1>& a) {
        kept_counts_.push_back(a);
        return a.data();
    }

    Tape tape_;
    int last_experts_ = 0;
    std::vector<Writable<double, 2>> kept_sums_;
    std::vector<Writable<int64_t, 1>> kept_counts_;
    std::vector<Array<uint8_t, 2>> kept_tiles_;
    std::vector<Array<float, 1>> kept_vectors_;
    std::vector<Array<float, 2>> kept_tables_;
    std::vector<Rows> kept_rows_;
};

nb::list isas() {
    nb::list out;
    for (const IsaChoice& c : isa_choices()) out.append(nb::make_tuple(c.name, c.available, c.reason));
    return out;
}

}  // namespace

void bind_engine(nb::module_& m) {
    m.def("instruction_sets", &isas, "[(name, runs here, reason)], best first.");
    m.def("best_instruction_set", [] { return std::string(best_kernels().isa); });
    m.def("tile_bytes", [](const std::string& format, int64_t columns) { return tile_bytes(weight_type(format), columns); },
          "format"_a, "columns"_a, "Bytes of one 16-row tile in the kernel layout.");

    nb::class_<Pool>(m, "Pool", "Threads that run tapes; the calling thread is one of them.")
        .def("__init__", [](Pool* self, int threads) {
            require(threads >= 1 && threads <= 1024, "threads must be 1 to 1024");
            new (self) Pool(threads);
        }, "threads"_a)
        .def_prop_ro("threads", &Pool::num_threads);

    nb::class_<BoundMatrix>(m, "Matrix", "A weight matrix in the kernel layout; keeps its array alive.")
        .def("__init__", [](BoundMatrix* self, const std::string& format, Array<uint8_t, 2> data, int64_t offset,
                            int64_t tile_stride, int64_t rows, int64_t columns, std::optional<Array<float, 2>> row_scales) {
            new (self) BoundMatrix(make_matrix(format, std::move(data), offset, tile_stride, rows, columns, std::move(row_scales)));
        }, "format"_a, "data"_a, "offset"_a, "tile_stride"_a, "rows"_a, "columns"_a, "row_scales"_a = nb::none())
        .def("decode_row", [](const BoundMatrix& self, int64_t row, Writable<float, 1> out) {
            require(row >= 0 && row < self.matrix->rows && static_cast<int64_t>(out.shape(0)) == self.matrix->columns,
                    "row must exist and out must have one value per column");
            self.matrix->decode_row(row, out.data());
        }, "row"_a, "out"_a);

    nb::class_<AttentionShape>(m, "AttentionShape")
        .def("__init__", [](AttentionShape* self, int num_heads, int num_kv_heads, int head_dim, int window, int group, int layer, float scale) {
            new (self) AttentionShape{num_heads, num_kv_heads, head_dim, window, group, layer, scale};
        }, "num_heads"_a, "num_kv_heads"_a, "head_dim"_a, "window"_a, "group"_a, "layer"_a, "scale"_a)
        .def_ro("num_heads", &AttentionShape::num_heads)
        .def_ro("head_dim", &AttentionShape::head_dim)
        .def_ro("window", &AttentionShape::window);
    m.def("span_bytes", [](int num_heads, int head_dim) { return kMaxSpans * num_heads * span_state(head_dim) * 4; },
          "num_heads"_a, "head_dim"_a, "Bytes of the states of one row's spans, before alignment.");

    nb::class_<KvArrays>(m, "KvArrays", "Pages of one group of layers and the page tables of a batch.")
        .def("__init__", [](KvArrays* self, KvPages keys, KvPages values, Array<int32_t, 2> page_tables) {
            new (self) KvArrays{std::move(keys), std::move(values), std::move(page_tables)};
        }, "keys"_a, "values"_a, "page_tables"_a);

    nb::class_<BoundTape>(m, "Tape", "A recorded forward pass; `run` executes it without the GIL.")
        .def(nb::init<std::shared_ptr<Pool>, const std::string&, int64_t>(), "pool"_a, "isa"_a, "max_rows"_a)
        .def("slot", &BoundTape::slot, "width"_a, "int8_parts"_a)
        .def("embed", &BoundTape::embed, "table"_a, "positions"_a.none(), "out"_a, "table_at"_a.none() = nb::none(), "positions_at"_a.none() = nb::none(), "table_at, positions_at: descriptor of a file and offset of the first tile, to be read from there.")
        .def("select_outputs", &BoundTape::select_outputs, "source"_a, "out"_a)
        .def("norm", &BoundTape::norm, "source"_a, "weight"_a, "bias"_a.none(), "eps"_a, "out"_a)
        .def("linear", &BoundTape::linear, "source"_a, "weights"_a, "biases"_a, "out"_a, "add"_a, "column"_a = 0, "Weights write one behind the other, from `column` of the output on.")
        .def("logits", &BoundTape::logits, "source"_a, "weight"_a)
        .def("rescore", &BoundTape::rescore, "source"_a, "weight"_a, "count"_a, "The `count` most promising runs of 32 logits again, after `logits` by a scan.")
        .def("store_kv", &BoundTape::store_kv, "qkv"_a, "shape"_a, "cos"_a.none(), "sin"_a.none(), "interleaved"_a, "q_norm"_a.none(), "k_norm"_a.none(), "eps"_a)
        .def("attend", &BoundTape::attend, "qkv"_a, "shape"_a, "sinks"_a.none(), "out"_a)
        .def("gate_up", &BoundTape::gate_up, "source"_a, "gate"_a.none(), "gate_bias"_a.none(), "up"_a, "up_bias"_a.none(), "activation"_a, "out"_a, "up_source"_a = nb::none())
        .def("round_inputs", &BoundTape::round_inputs, "source"_a, "dynamic"_a, "symmetric"_a, "scale"_a, "zero"_a, "out"_a, "Rows after a stay in 8 bits; `out` has no 8-bit parts, or two.")
        .def("moe", &BoundTape::moe, "source"_a, "router"_a, "gate"_a, "gate_bias"_a.none(), "up"_a, "up_bias"_a.none(), "down"_a, "down_bias"_a.none(), "num_experts_per_tok"_a, "routing"_a, "renormalize"_a, "activation"_a, "residual"_a)
        .def("watch", &BoundTape::watch, "source"_a, "sums"_a, "counts"_a, "sums (1, width) += squares of the slot's rows; counts (1,) += rows.")
        .def("watch_experts", &BoundTape::watch_experts, "source"_a, "in_sums"_a, "inner_sums"_a, "counts"_a, "The same per expert (experts, width), of the moe just recorded: into gate and up, into down.")
        .def("run", &BoundTape::run, "ids"_a, "positions"_a, "sequences"_a, "output_rows"_a, "groups"_a, "num_sequences"_a, "logits"_a, "num_experts_per_tok"_a = 0)
        .def("max_rows", &BoundTape::max_rows, "num_experts_per_tok"_a, "Tokens that one run can take; 0 experts: as recorded.")
        .def_prop_ro("scratch_bytes", &BoundTape::scratch_bytes)
        .def_prop_ro("scratch_places", &BoundTape::scratch_places, "[(address, bytes)] of all scratch.")
        .def_prop_ro("num_steps", &BoundTape::num_steps)
        .def_prop_rw("timed", &BoundTape::timed, &BoundTape::set_timed)
        .def_prop_ro("shares", &BoundTape::shares,
                     "[(kind of step, seconds of work, seconds of waiting)] over threads, while timed.");
}
