// Walks over a network: the caches of its layers, their outputs and the gradients there.
#pragma once

#include "poolhead/nn/named.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// f(layer, its cache) for every leaf.
template <class L, class C, class F>
void each_cache(L& layer, C& cache, const F& f) {
  if constexpr (requires { L::visit_caches(layer, cache, f); })
    L::visit_caches(layer, cache, [&](auto& part, auto& part_cache) { each_cache(part, part_cache, f); });
  else
    f(layer, cache);
}

template <class L, class Y, class C, class F>
void each_output(ParameterName& name, const L& layer, const Y& y, const C& cache, const F& f) {
  f(std::string_view(name), y);
  if constexpr (requires { layer.visit_part_outputs(y, cache, [](const auto&...) {}); }) {
    layer.visit_part_outputs(
        y, cache, [&](std::string_view part, const auto& own, const auto& own_y, const auto& own_cache) {
          name.with(part, [&] { each_output(name, own, own_y, own_cache, f); });
        });
  }
}

template <class L, class DY, class C, class F>
void each_gradient(ParameterName& name, const L& layer, const DY& dy, const C& cache, const F& f) {
  f(std::string_view(name), dy);
  if constexpr (requires { layer.visit_part_gradients(dy, cache, [](const auto&...) {}); }) {
    layer.visit_part_gradients(
        dy, cache, [&](std::string_view part, const auto& own, const auto& own_dy, const auto& own_cache) {
          name.with(part, [&] { each_gradient(name, own, own_dy, own_cache, f); });
        });
  }
}

}  // namespace detail

/// After a training step: batch-norm's running statistics take in what forward has left in the cache.
template <class Network, class Cache>
void update_buffers(Network& network, const Cache& cache) {
  detail::each_cache(network, cache, [](auto& layer, const auto& own) {
    if constexpr (requires { layer.update_buffers(own); }) layer.update_buffers(own);
  });
}

/// Before a training step: dropout takes its numbers from (its seed, step), those of row n from first_sample +
/// n, so the parts of a batch may run in any order. Without this call, a cache counts its own steps.
template <class Network, class Cache>
void start_step(const Network& network, Cache& cache, std::uint64_t step, Index first_sample = 0) {
  detail::each_cache(network, cache, [&](const auto&, auto& own) {
    if constexpr (requires { own.first_sample; }) {
      own.step = step;
      own.first_sample = first_sample;
    }
  });
}

/// Calls f(name, view) for the output of the network ("") and of every part of it ("conv_layers.0"), after a
/// forward with this cache; views are of const and lie where the network left them. The output of a part that
/// is followed by one that works in place (ReLU) is what that made of it. The cache keeps activations, unless
/// it was made for inference.
template <class Network, class Y, class Cache, class F>
void visit_outputs(const Network& network, const Y& y, const Cache& cache, const F& f) {
  detail::ParameterName name;
  detail::each_output(name, network, detail::read_only(y), cache, f);
}

/// The same for the gradients at these outputs, after a backward with a cache whose Mode keeps_gradients.
template <class Network, class DY, class Cache, class F>
void visit_gradients(const Network& network, const DY& dy, const Cache& cache, const F& f) {
  detail::ParameterName name;
  detail::each_gradient(name, network, detail::read_only(dy), cache, f);
}

}  // namespace poolhead::inline POOLHEAD_ISA
