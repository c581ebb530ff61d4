// The compiled module: each kernel registers its own functions.

#include "native.h"

NB_MODULE(_native, m) {
    add_attention(m);
    add_csr(m);
    add_normalisation(m);
    add_propagation(m);
}
