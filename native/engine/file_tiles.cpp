#include "engine/file_tiles.h"

#include <cerrno>
#include <stdexcept>

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

namespace ingle {

#ifdef _WIN32

FileTiles::FileTiles(int, int64_t offset) : descriptor_(-1), offset_(offset) {
    throw std::runtime_error("this system cannot read at a place of a file");
}
FileTiles::~FileTiles() = default;
bool FileTiles::read(int64_t, uint8_t*, int64_t) const { return false; }

#else

FileTiles::FileTiles(int descriptor, int64_t offset)
    : descriptor_(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)), offset_(offset) {
    if (descriptor_ < 0) throw std::runtime_error("the descriptor of a file cannot be duplicated");
}

FileTiles::~FileTiles() { close(descriptor_); }

bool FileTiles::read(int64_t at, uint8_t* out, int64_t nbytes) const {
    while (nbytes > 0) {
        const ssize_t got = pread(descriptor_, out, static_cast<size_t>(nbytes), offset_ + at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        out += got, at += got, nbytes -= got;
    }
    return true;
}

#endif

}  // namespace ingle
