// Binds the o200k vocabulary: text in, ids out.
#include <nanobind/nanobind.h>

#include <stdexcept>
#include <vector>

#include "tokenizer/o200k_split.h"
#include "tokenizer/rank_bpe.h"

namespace nb = nanobind;

namespace {

using ingle::tokenizer::kCodePoints;
using ingle::tokenizer::O200kSplit;
using ingle::tokenizer::RankBpe;

const uint8_t* data(const nb::bytes& bytes) {
    return reinterpret_cast<const uint8_t*>(bytes.c_str());
}

class O200kEncoder {
public:
    O200kEncoder(const nb::bytes& lengths, const nb::bytes& blob, const nb::bytes& classes)
        : bpe_(data(lengths), lengths.size(), data(blob), blob.size()),
          classes_(data(classes), data(classes) + classes.size()) {
        if (classes.size() != kCodePoints)
            throw std::invalid_argument("there is one class per code point");
    }

    size_t size() const { return bpe_.size(); }

    nb::bytes token(size_t id) const {
        if (id >= bpe_.size()) throw nb::index_error("token id");
        return nb::bytes(bpe_.token(uint32_t(id)), bpe_.token_bytes(uint32_t(id)));
    }

    nb::list encode(const nb::bytes& text) const {
        const uint8_t* bytes = data(text);
        const size_t size = text.size();
        std::vector<uint32_t> ids;
        {
            nb::gil_scoped_release release;
            const O200kSplit split(bytes, size, classes_.data());
            RankBpe::Scratch scratch;
            for (size_t start = 0; start < size;) {
                const size_t end = split.piece_end(start);
                bpe_.encode_piece(bytes + start, end - start, scratch, ids);
                start = end;
            }
        }
        nb::list list;
        for (const uint32_t id : ids) list.append(id);
        return list;
    }

private:
    RankBpe bpe_;
    std::vector<uint8_t> classes_;
};

}  // namespace

void bind_tokenizer(nb::module_& m) {
    nb::class_<O200kEncoder>(m, "O200kEncoder",
                             "Byte-pair encoding by rank over pieces cut by o200k_base's pattern. "
                             "Immutable; encode releases the GIL.")
        .def(nb::init<const nb::bytes&, const nb::bytes&, const nb::bytes&>(), nb::arg("lengths"),
             nb::arg("blob"), nb::arg("classes"),
             "lengths: one byte per token; blob: their bytes; classes: one byte per code point.")
        .def("__len__", &O200kEncoder::size)
        .def("token", &O200kEncoder::token, nb::arg("token_id"), "Bytes of one token.")
        .def("encode", &O200kEncoder::encode, nb::arg("text"), "Ids of UTF-8 text.");
}
