// The compiled module of recsys: each kernel registers its own functions.

#include "recsys_native.h"

NB_MODULE(_native, m) {
    add_negatives(m);
    add_pairs(m);
    add_sgd(m);
}
