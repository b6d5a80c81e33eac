// What this machine can do at most: bytes read from memory, operations per second. Nothing of a
// model's kernels is measured here; they are judged by these figures.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/pool.h"

namespace ingle {

// Seconds of each pass in which the threads together read `nbytes` of `data` once, a slice each.
std::vector<double> measure_read(Pool& pool, const uint8_t* data, int64_t nbytes, int passes);

struct Peak {
    double operations = 0;  // of one pass, over all threads; a multiply-add is two
    std::vector<double> seconds;
};

// Products of 8-bit integers summed in 32 bits, as the instruction set `isa` does them best,
// without touching memory. Throws std::invalid_argument for a set that cannot run here.
Peak measure_int8(Pool& pool, const std::string& isa, int passes);
// The same of 32-bit floats.
Peak measure_float(Pool& pool, const std::string& isa, int passes);

}  // namespace ingle
