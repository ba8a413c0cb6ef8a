// Compiled twice, with different flags (see CMakeLists.txt).
#include <poolhead/poolhead.hpp>
#include <poolhead/poolhead.hpp>  // again: every header guards itself

#include <vector>

namespace ph = poolhead;

// What the pools and their gradients make of a map with these extents, in both layouts.
std::vector<float> POOLHEAD_UNIT(const std::vector<float>& map, std::ptrdiff_t n, std::ptrdiff_t c,
                                 std::ptrdiff_t h, std::ptrdiff_t w) {
#ifdef EIGEN_USE_THREADS
  Eigen::ThreadPool threads(2);
  const Eigen::ThreadPoolDevice device(&threads, 2);
#else
  const Eigen::DefaultDevice device;
#endif
  std::vector<float> results;
  const auto run = [&](const auto& pool, const auto& view) {
    const auto x = view(map.data());
    Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> y(n, pool.features(c));
    std::vector<float> dx(map.size());
    auto cache = pool.make_cache(x);
    pool.forward(x, y, cache, device);
    pool.backward(x, y, y, view(dx.data()), cache, device);
    results.insert(results.end(), y.data(), y.data() + y.size());
    results.insert(results.end(), dx.begin(), dx.end());
  };
  const auto run_layouts = [&](const auto& pool) {
    run(pool, [&](auto* data) { return ph::nchw(data, n, c, h, w); });
    run(pool, [&](auto* data) { return ph::nhwc(data, n, h, w, c); });
  };
  run_layouts(ph::GlobalAveragePool{});
  run_layouts(ph::GlobalMaxPool{});
  run_layouts(ph::concat(ph::GlobalAveragePool{}, ph::GlobalMaxPool{}));
  return results;
}
