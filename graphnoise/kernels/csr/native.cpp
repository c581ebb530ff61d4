// Compression of arcs into rows by a stable counting sort; reference.py defines the operation.

#include "native.h"

#include <algorithm>

static void compress(IndexIn row, IndexOut rowptr, IndexOut order) {
    nb::gil_scoped_release release;
    const Index *r = row.data();
    Index *begin = rowptr.data(), *out = order.data();
    const auto arcs = static_cast<Index>(row.size()), rows = static_cast<Index>(rowptr.size()) - 1;

    // begin[i + 1] is the count of row i, then the next free position of row i, and at the end where row i + 1 begins.
    std::fill(begin, begin + rows + 1, 0);
    for (Index k = 0; k < arcs; ++k) ++begin[r[k] + 1];
    Index total = 0;
    for (Index i = 0; i < rows; ++i) {
        const Index count = begin[i + 1];
        begin[i + 1] = total;
        total += count;
    }
    for (Index k = 0; k < arcs; ++k) out[begin[r[k] + 1]++] = k;
}

void add_csr(nb::module_ &m) {
    // noconvert: a silent copy of an output array would lose the result.
    m.def("compress", &compress, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
}
