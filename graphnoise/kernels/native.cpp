// The compiled module: each kernel registers its own functions.

#include "native.h"

NB_MODULE(_native, m) {
    add_attention(m);
    add_beliefs(m);
    add_csr(m);
    add_cut(m);
    add_normalisation(m);
    add_propagation(m);
    add_push(m);
    add_region(m);
    add_release(m);
    add_sweep(m);
}
