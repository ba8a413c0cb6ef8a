// Which cases there are. A case is a pool, a direction, a layout, a scalar, a shape and a number of threads;
// see harness.cpp for how one is verified and timed.
#pragma once

#include "pooling.hpp"

namespace poolhead::bench {

using MakePooling = std::function<std::unique_ptr<Pooling>(const Extents&, Values)>;

/// Adds the cases of one pool in one layout and scalar, over all shapes, directions and threads.
void add_cases(const PoolInfo& info, std::string_view layout, std::string_view scalar, const MakePooling& make);

template <class Type, Use use, class MakePool, class MakeOracle>
void add_pool_of(const PoolInfo& info, std::string_view scalar, MakePool make_pool, MakeOracle make_oracle) {
  add_cases(info, Type::Layout::name, scalar, [=](const Extents& e, Values values) -> std::unique_ptr<Pooling> {
    const auto pool = make_pool.template operator()<typename Type::Scalar>(e.c);
    const auto oracle = make_oracle(pool);
    using Made =
        PoolingOf<std::remove_const_t<decltype(pool)>, std::remove_const_t<decltype(oracle)>, Type, use>;
    return std::make_unique<Made>(pool, oracle, info, e, values);
  });
}

/// A pool in both layouts, of floats and of bfloat16. make_pool: a lambda with <class T>(Index channels);
/// make_oracle: the oracle of such a pool.
template <Use use = Use::training, class MakePool, class MakeOracle>
void add_pool(const PoolInfo& info, MakePool make_pool, MakeOracle make_oracle) {
  add_pool_of<test::Nchw<float>, use>(info, "float", make_pool, make_oracle);
  add_pool_of<test::Nhwc<float>, use>(info, "float", make_pool, make_oracle);
#if !defined(POOLHEAD_BENCH_BASELINE)
  add_pool_of<test::Nchw<Eigen::bfloat16>, use>(info, "bfloat16", make_pool, make_oracle);
  add_pool_of<test::Nhwc<Eigen::bfloat16>, use>(info, "bfloat16", make_pool, make_oracle);
#endif
}

// One unit each, so that they compile side by side.
void add_averages_and_maxima();
void add_generalised_means();
void add_lp_norms();
void add_exponentials();
void add_grids();
void add_attention();
void add_fused_heads();

/// Registers all cases with Google Benchmark.
void register_cases();
/// Whether a result was wrong since the program began.
bool anything_wrong();

}  // namespace poolhead::bench
