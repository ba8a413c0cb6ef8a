// Batches of images as the network sees them: in random order, normalised, changed a little.
#pragma once

#include "data_set.hpp"
#include "network.hpp"

#include <span>

/// Pixels shifted and scaled, each channel to mean 0 and deviation 1 over the training split; or to 0 .. 1.
struct Normalisation {
  std::vector<double> mean, scale;  ///< (pixel - mean) * scale

  static Normalisation of(const ph::LabelledImages& images);
  static Normalisation to_unit(ph::Index channels);
};

/// What may happen to a training image, at random.
struct Augmentation {
  bool flip = false;    ///< left to right, every other time
  ph::Index shift = 0;  ///< up to so many pixels in each direction; what comes in is black
  ph::Index erase = 0;  ///< a square of so many pixels, black

  bool any() const { return flip || shift > 0 || erase > 0; }
  /// From a list such as "flip,shift"; throws ValueError where a word is none of flip, shift, erase, none.
  static Augmentation from(const std::string& text);
};

/// Images and labels of one step. The memory is reused from step to step.
class Batch {
 public:
  explicit Batch(bool channels_last) : channels_last_(channels_last) {}

  /// Takes the images of these indices; random numbers come from `random`, a stream for each index.
  void gather(const ph::LabelledImages& images, const Normalisation& normalisation,
              std::span<const ph::Index> order, const Augmentation& augmentation = {},
              std::uint64_t random = 0);

  const Images& images() const { return view_; }
  std::span<const std::uint8_t> labels() const { return labels_; }

 private:
  bool channels_last_;
  std::vector<float> values_;
  std::vector<std::uint8_t> labels_;
  Images view_;
};

/// 0 .. count - 1; in random order, which follows from the seed alone.
std::vector<ph::Index> in_order(ph::Index count);
std::vector<ph::Index> shuffled(ph::Index count, std::uint64_t seed);
