// Where a trained network looks: class activation maps of any of its layers, by name.
#pragma once

#include "trainer.hpp"

#include <poolhead/explain/class_activation.hpp>
#include <poolhead/io/picture.hpp>

#include <optional>

/// The methods that explain --method takes.
const std::vector<std::string>& explain_methods();

/// One image through a network, with the gradient of one class's score at every layer.
class Explainer {
 public:
  /// image is one image of the network's size. target: a class, or nothing for the network's own answer.
  Explainer(const TrainedNetwork& trained, const ph::LabelledImages& image,
            std::optional<ph::Index> target = {});

  ph::Index target() const { return target_; }
  ph::Index answer() const { return answer_; }
  const std::vector<double>& probabilities() const { return probabilities_; }

  /// The layers that have a map: their names, in order.
  std::vector<std::string> layers() const;
  /// A layer's activations; throws ValueError, listing the layers, where there is none of that name.
  const Tap& activations(const std::string& layer) const;
  /// The map of a method at a layer, not normalised. Throws ValueError where the method does not apply.
  ph::HeatMaps map(const std::string& method, const std::string& layer);

 private:
  const TrainedNetwork& trained_;
  Batch batch_;
  ph::Index answer_ = 0, target_ = 0;
  std::vector<double> probabilities_;
  std::vector<Tap> activations_, gradients_;

  ph::HeatMaps cam(const Tap& a) const;
  ph::HeatMaps score(const Tap& a) const;
};

/// A picture as the one image of a data set of the network's size and channels; and image i of a split as a
/// picture.
ph::LabelledImages as_input(const ph::Picture& picture, const NetworkOptions& network);
ph::Picture as_picture(const ph::LabelledImages& images, ph::Index i);
ph::LabelledImages one_of(const ph::LabelledImages& images, ph::Index i);

/// Every pixel as a square, so that small images can be seen, at least `least` pixels wide.
ph::Picture magnified(const ph::Picture& picture, ph::Index least);
