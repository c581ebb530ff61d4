// Memory pages of results.

#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace graphnoise {

// Ask for pages of 2 MiB for new memory: each 4 KiB page costs a fault, and a page walk at each row gathered from it.
inline void in_large_pages(void *begin, std::int64_t bytes) {
#if defined(__linux__)
    constexpr std::uintptr_t page = 1 << 21;
    const auto first = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) / page * page;
    const auto last = (reinterpret_cast<std::uintptr_t>(begin) + static_cast<std::uintptr_t>(bytes)) / page * page;
    // The request may fail.
    if (first < last) madvise(reinterpret_cast<void *>(first), last - first, MADV_HUGEPAGE);
#else
    (void)begin;
    (void)bytes;
#endif
}

}  // namespace graphnoise
