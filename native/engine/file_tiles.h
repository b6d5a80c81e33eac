// Tiles that are read from their file when they are wanted, and never mapped: of a table that is
// only looked up in, a map would keep far more in memory than is read.
#pragma once
#include <cstdint>

namespace ingle {

class FileTiles {
public:
    // offset: of the first tile, from the start of the file. The descriptor is duplicated; throws
    // std::runtime_error where that, or reading at a place, cannot be done.
    FileTiles(int descriptor, int64_t offset);
    ~FileTiles();
    FileTiles(const FileTiles&) = delete;
    FileTiles& operator=(const FileTiles&) = delete;

    // out[0 .. nbytes) = the bytes `at` bytes after the first tile; false when the file has fewer
    bool read(int64_t at, uint8_t* out, int64_t nbytes) const;

private:
    int descriptor_;
    int64_t offset_;
};

}  // namespace ingle
