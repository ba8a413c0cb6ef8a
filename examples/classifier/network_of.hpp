// Wraps one network type; included where a network is compiled.
#pragma once

#include "kernels.hpp"
#include "network.hpp"

#include <poolhead/nn/init.hpp>
#include <poolhead/nn/layer.hpp>
#include <poolhead/nn/walk.hpp>

/// Network::Model of a network from feature maps to rows.
template <class Net>
class NetworkOf : public Network::Model {
 public:
  explicit NetworkOf(Net net) : net_(std::move(net)) {
    // Where the numbers are does not change while the network lives.
    ph::visit_parameters(net_, [&](std::string_view name, auto values) { add(parameters, name, values); });
    ph::visit_state(net_, [&](std::string_view name, auto values) { add(state, name, values); });
    has_buffers = state.size() > parameters.size();
  }

  std::unique_ptr<Model> clone() const override { return std::make_unique<NetworkOf>(net_); }

  ph::Rows<float> output_shape(const Images& x) const override {
    return in_layout(x, [&](const auto& view) { return ph::Rows<float>(net_.output_shape(view)); });
  }
  std::unique_ptr<Network::Memory> make_memory(const Images& x, const ph::Mode& mode) const override {
    return in_layout(x, [&]<class View>(const View& view) -> std::unique_ptr<Network::Memory> {
      return std::make_unique<MemoryOf<View>>(net_.make_cache(view, mode));
    });
  }
  void forward(const Images& x, const ph::Rows<float>& y, Network::Cache& cache,
               const Network::Device& device) const override {
    in_layout(x, [&]<class View>(const View& view) {
      auto& memory = static_cast<MemoryOf<View>&>(*cache.memory).cache;
      ph::start_step(net_, memory, cache.step, cache.first_sample);
      net_.forward(view, y, memory, device);
    });
  }
  void backward(const Images& x, const ph::Rows<const float>& y, const ph::Rows<const float>& dy,
                const Network::Cache& cache, Model& gradient, const Network::Device& device) const override {
    in_layout(x, [&]<class View>(const View& view) {
      net_.backward(view, y, dy, ph::no_gradient, static_cast<const MemoryOf<View>&>(*cache.memory).cache,
                    static_cast<NetworkOf&>(gradient).net_, device);
    });
  }
  void update_buffers(const Images& x, const Network::Cache& cache) override {
    in_layout(x, [&]<class View>(const View&) {
      ph::update_buffers(net_, static_cast<const MemoryOf<View>&>(*cache.memory).cache);
    });
  }
  void outputs(const Images& x, const ph::Rows<const float>& y, const Network::Cache& cache,
               const TapFilter& wanted, const TapVisitor& visit) const override {
    in_layout(x, [&]<class View>(const View&) {
      ph::visit_outputs(net_, y, static_cast<const MemoryOf<View>&>(*cache.memory).cache,
                        [&](std::string_view name, const auto& view) { tap(name, view, wanted, visit); });
    });
  }
  void gradients(const Images& x, const ph::Rows<const float>& dy, const Network::Cache& cache,
                 const TapFilter& wanted, const TapVisitor& visit) const override {
    in_layout(x, [&]<class View>(const View&) {
      ph::visit_gradients(net_, dy, static_cast<const MemoryOf<View>&>(*cache.memory).cache,
                          [&](std::string_view name, const auto& view) { tap(name, view, wanted, visit); });
    });
  }

 private:
  template <class View>
  struct MemoryOf : Network::Memory {
    using Cache = decltype(std::declval<const Net&>().make_cache(std::declval<const View&>(), ph::Mode{}));
    Cache cache;
    explicit MemoryOf(Cache&& made) : cache(std::move(made)) {}
  };

  template <class F>
  static auto in_layout(const Images& x, const F& f) {
    if (x.channels_last()) return f(ph::FeatureMap<const float, ph::ChannelsLast>(x.data(), x.shape()));
    return f(ph::FeatureMap<const float, ph::ChannelsFirst>(x.data(), x.shape()));
  }

  template <class Values>
  static void add(std::vector<State>& list, std::string_view name, const Values& values) {
    list.push_back({std::string(name), values});
  }

  template <class T, class L>
  static void tap(std::string_view name, const ph::FeatureMap<T, L>& view, const TapFilter& wanted,
                  const TapVisitor& visit) {
    if (!wanted(name)) return;
    Tap result{std::string(name), view.shape(), false, {}};
    result.values.reserve(static_cast<std::size_t>(view.size()));
    for (ph::Index n = 0; n < view.batch(); ++n) {
      for (ph::Index c = 0; c < view.channels(); ++c) {
        for (ph::Index s = 0; s < view.positions(); ++s) result.values.push_back(view(n, c, s));
      }
    }
    visit(std::move(result));
  }
  template <class T>
  static void tap(std::string_view name, const ph::Rows<T>& view, const TapFilter& wanted,
                  const TapVisitor& visit) {
    if (!wanted(name)) return;
    Tap result{std::string(name), {}, true, {}};
    result.shape.batch = view.batch();
    result.shape.channels = view.features();
    result.shape.spatial = {1, 1, 1};
    for (ph::Index n = 0; n < view.batch(); ++n) {
      result.values.insert(result.values.end(), view.row(n), view.row(n) + view.features());
    }
    visit(std::move(result));
  }

  Net net_;
};

/// Starts the network as options ask, and wraps it.
template <class Net>
std::unique_ptr<Network::Model> wrap(Net net, const NetworkOptions& options) {
  if (options.init == "xavier") ph::initialise(net, ph::XavierUniform{options.bias}, options.seed);
  if (options.init == "kaiming") ph::initialise(net, ph::KaimingUniform{options.bias}, options.seed);
  return std::make_unique<NetworkOf<Net>>(std::move(net));
}
