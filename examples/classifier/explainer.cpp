#include "explainer.hpp"

#include <poolhead/explain/score_cam.hpp>

#include <algorithm>

const std::vector<std::string>& explain_methods() {
  static const std::vector<std::string> methods{"cam", "grad-cam", "grad-cam++", "layer-cam", "score-cam"};
  return methods;
}

Explainer::Explainer(const TrainedNetwork& trained, const ph::LabelledImages& image,
                     std::optional<ph::Index> target)
    : trained_(trained), batch_(trained.card.options.channels_last()) {
  const Network& network = trained.network;
  batch_.gather(image, trained.card.normalisation, in_order(1));
  const Images& x = batch_.images();
  Network::Cache cache = network.make_cache(x, {.trains = false, .keeps_gradients = true});
  std::vector<float> y(static_cast<std::size_t>(network.output_shape(x).features())), dy(y.size());
  const auto classes = static_cast<ph::Index>(y.size());
  const ph::Rows<float> outputs(y.data(), 1, classes);
  network.forward(x, outputs, cache);
  answer_ = std::max_element(y.begin(), y.end()) - y.begin();
  target_ = target.value_or(answer_);
  if (target_ < 0 || target_ >= classes) {
    throw ph::ValueError(
        ph::detail::message("class ", target_, " is none of the network's, 0 to ", classes - 1));
  }
  probabilities_ = softmax(y);
  dy[static_cast<std::size_t>(target_)] = 1.0f;
  const ph::Rows<float> score(dy.data(), 1, classes);
  Network gradient = ph::zeros_like(network);
  network.backward(x, outputs, score, cache, gradient, Network::this_thread());
  // Rows have nowhere to look at, and compositions end where their last layer does.
  const TapFilter all = [](std::string_view name) { return !name.empty(); };
  const auto keep = [](std::vector<Tap>& list) {
    return [&list](Tap&& tap) {
      if (!tap.rows) list.push_back(std::move(tap));
    };
  };
  network.model().outputs(x, outputs, cache, all, keep(activations_));
  network.model().gradients(x, score, cache, all, keep(gradients_));
}

std::vector<std::string> Explainer::layers() const {
  std::vector<std::string> names;
  for (const Tap& tap : activations_) names.push_back(tap.name);
  return names;
}

const Tap& Explainer::activations(const std::string& layer) const {
  const auto found = std::ranges::find(activations_, layer, &Tap::name);
  if (found != activations_.end()) return *found;
  std::string names;
  for (const auto& name : layers()) names += (names.empty() ? "" : ", ") + name;
  throw ph::ValueError("there is no layer \"" + layer + "\" with feature maps, expected one of " + names);
}

ph::HeatMaps Explainer::map(const std::string& method, const std::string& layer) {
  const Tap& a = activations(layer);
  const auto gradient = std::ranges::find(gradients_, layer, &Tap::name);
  if (method == "cam") return cam(a);
  if (method == "score-cam") return score(a);
  if (method == "grad-cam") return ph::grad_cam(a.view(), gradient->view());
  if (method == "grad-cam++") return ph::grad_cam_plus_plus(a.view(), gradient->view());
  if (method == "layer-cam") return ph::layer_cam(a.view(), gradient->view());
  std::string names;
  for (const auto& name : explain_methods()) names += (names.empty() ? "" : ", ") + name;
  throw ph::ValueError("there is no method \"" + method + "\", expected one of " + names);
}

ph::HeatMaps Explainer::cam(const Tap& a) const {
  const NetworkInfo& info = network_info(trained_.card.options.model);
  const bool average = trained_.card.options.pool == "gap" || !info.takes_pool;
  if (info.classifier.empty() || a.name != info.features || !average) {
    throw ph::ValueError(
        "cam needs the maps that go through average pooling straight into the class scores (of " +
        trained_.card.options.model + " they do not, or --layer is another); use grad-cam");
  }
  std::vector<float> weights(static_cast<std::size_t>(a.shape.channels));
  if (info.classifier == "-") {
    weights[static_cast<std::size_t>(target_)] = 1.0f;  // the maps are the classes' own
  } else {
    const std::string name = std::string(info.classifier) + ".weight";
    ph::visit_parameters(trained_.network, [&](std::string_view parameter, auto values) {
      if (parameter == name)
        std::copy_n(values.data() + target_ * a.shape.channels, weights.size(), weights.begin());
    });
  }
  return ph::class_activation_map(a.view(), std::span<const float>(weights));
}

ph::HeatMaps Explainer::score(const Tap& a) const {
  const Network& network = trained_.network;
  const Images& x = batch_.images();
  Network::Cache cache = network.make_cache(x, ph::Mode::inference);
  std::vector<float> y(static_cast<std::size_t>(network.output_shape(x).features()));
  const auto run = [&]<class L>(L) {
    return ph::score_cam(
        ph::FeatureMap<const float, L>(x.data(), x.shape()), a.view(), [&](const auto& masked) {
          network.forward(Images(masked.data(), x.shape(), x.channels_last()),
                          ph::Rows<float>(y.data(), 1, static_cast<ph::Index>(y.size())), cache);
          return y[static_cast<std::size_t>(target_)];
        });
  };
  return x.channels_last() ? run(ph::ChannelsLast{}) : run(ph::ChannelsFirst{});
}

ph::LabelledImages as_input(const ph::Picture& picture, const NetworkOptions& network) {
  ph::LabelledImages images{.height = network.height, .width = network.width, .channels = network.channels};
  images.pixels =
      ph::resized(ph::with_channels(picture, network.channels), network.height, network.width).pixels;
  images.labels = {0};
  return images;
}

ph::Picture as_picture(const ph::LabelledImages& images, ph::Index i) {
  const auto pixels = images.image(i);
  return {images.height, images.width, images.channels, {pixels.begin(), pixels.end()}};
}

ph::LabelledImages one_of(const ph::LabelledImages& images, ph::Index i) {
  ph::LabelledImages one{.height = images.height, .width = images.width, .channels = images.channels};
  const auto pixels = images.image(i);
  one.pixels.assign(pixels.begin(), pixels.end());
  one.labels = {images.labels[static_cast<std::size_t>(i)]};
  return one;
}

ph::Picture magnified(const ph::Picture& picture, ph::Index least) {
  const ph::Index scale = std::max<ph::Index>(1, (least + picture.width - 1) / picture.width);
  ph::Picture result{picture.height * scale, picture.width * scale, picture.channels, {}};
  result.pixels.reserve(picture.pixels.size() * static_cast<std::size_t>(scale * scale));
  for (ph::Index y = 0; y < result.height; ++y) {
    for (ph::Index x = 0; x < result.width; ++x) {
      for (ph::Index c = 0; c < picture.channels; ++c)
        result.pixels.push_back(picture(y / scale, x / scale, c));
    }
  }
  return result;
}
