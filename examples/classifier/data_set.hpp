// The images that a network is trained and judged on, whatever files they come from.
#pragma once

#include <poolhead/io/labelled_images.hpp>

#include <string>

namespace ph = poolhead;

struct DataSet {
  std::string source;  ///< "synthetic" or the directory, absolute
  std::string format;  ///< for the reader's eyes
  ph::LabelledImages train, validation;
  std::vector<std::string> class_names;

  ph::Index classes() const { return static_cast<ph::Index>(class_names.size()); }
  /// A hash of every pixel and label: the same data, and no other.
  std::string fingerprint() const;
};

struct DataOptions {
  std::string source = "synthetic";
  ph::Index image_size = 32;  ///< of folders of images
  int classes = 10;           ///< of IDX directories
  std::uint64_t seed = 1;     ///< of synthetic data
};

/// Reads what source is: "synthetic", a directory of IDX files (MNIST, Fashion-MNIST), of CIFAR-10's binary
/// files, or of a folder of images for each class. Throws FileError where it is none of these, or broken.
DataSet read_data(const DataOptions& options);
