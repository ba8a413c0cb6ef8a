// A folder of image files per class (opt-in; see picture_file.hpp).
#pragma once

#include "poolhead/io/labelled_images.hpp"
#include "poolhead/io/picture_file.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string>
#include <utility>

namespace poolhead::inline POOLHEAD_ISA {

/// What read_image_folder makes of every picture.
struct ImageFolderOptions {
  Index height = 32, width = 32;
  Index channels = 0;  ///< 0: grey where every file is, else colour
};

namespace detail {

inline bool is_image_name(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

/// The entries of a directory in the order of their names, whatever the file system says.
inline std::vector<std::filesystem::path> sorted_entries(const std::filesystem::path& directory, bool folders) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const bool hidden = entry.path().filename().string().starts_with('.');
    if (!hidden && (folders ? entry.is_directory() : is_image_name(entry.path())))
      entries.push_back(entry.path());
  }
  if (error) fail<FileError>(directory.string(), ": cannot be read: ", error.message());
  std::ranges::sort(entries);
  return entries;
}

/// The folder with the classes of a split, and whether it is all that there is.
inline std::pair<std::filesystem::path, bool> split_folder(const std::filesystem::path& directory,
                                                           Split split) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory / "train", error)) return {directory, true};
  if (split == Split::train) return {directory / "train", false};
  for (const char* name : {"validation", "valid", "val", "test"}) {
    if (std::filesystem::is_directory(directory / name, error)) return {directory / name, false};
  }
  fail<FileError>(directory.string(), ": has a folder train, but none called validation, valid, val or test");
}

}  // namespace detail

/// Reads one split of a directory with a folder of PNG or JPEG files for each class: DIR/train/CLASS/... and
/// DIR/validation/CLASS/... (also valid, val, test), or DIR/CLASS/..., of which every fifth file of a class, in
/// the order of names, is for validation. Classes are numbered in the order of their names; files that are
/// called otherwise are passed over.
///
/// Throws FileError where there are fewer than 2 classes or more than 256, a class without images, a class of
/// validation that training does not have, or a file that is not an image.
inline LabelledImages read_image_folder(const std::filesystem::path& directory, Split split,
                                        const ImageFolderOptions& options = {}) {
  const auto training_folder = detail::split_folder(directory, Split::train).first;
  const auto [folder, shared] = detail::split_folder(directory, split);
  LabelledImages images{.height = options.height, .width = options.width};
  for (const auto& path : detail::sorted_entries(training_folder, true)) {
    images.class_names.push_back(path.filename().string());
  }
  if (images.class_names.size() < 2 || images.class_names.size() > 256) {
    detail::fail<FileError>(training_folder.string(), ": has ", images.class_names.size(),
                            " folders, expected one for each of 2 to 256 classes");
  }
  std::vector<std::pair<std::filesystem::path, std::uint8_t>> files;
  for (const auto& path : detail::sorted_entries(folder, true)) {
    const auto name = std::ranges::lower_bound(images.class_names, path.filename().string());
    if (name == images.class_names.end() || *name != path.filename().string()) {
      detail::fail<FileError>(path.string(), ": is a class that ", training_folder.string(), " does not have");
    }
    const auto of_class = detail::sorted_entries(path, false);
    if (of_class.empty()) detail::fail<FileError>(path.string(), ": has no PNG or JPEG file");
    for (std::size_t i = 0; i < of_class.size(); ++i) {
      constexpr std::size_t every = 5;
      if (shared && (i % every == every - 1) != (split == Split::validation)) continue;
      files.emplace_back(of_class[i], static_cast<std::uint8_t>(name - images.class_names.begin()));
    }
  }
  if (files.empty()) detail::fail<FileError>(folder.string(), ": has too few images to set some apart");
  images.channels = options.channels;
  if (images.channels == 0) {
    // Both splits must agree, so all files of the data set have a say.
    images.channels = 1;
    for (const auto& of_split : {training_folder, detail::split_folder(directory, Split::validation).first}) {
      for (const auto& path : detail::sorted_entries(of_split, true)) {
        for (const auto& file : detail::sorted_entries(path, false)) {
          if (images.channels == 1) images.channels = picture_channels(file);
        }
      }
    }
  }
  for (const auto& file : files) {
    const Picture picture =
        resized(with_channels(read_picture(file.first), images.channels), options.height, options.width);
    images.pixels.insert(images.pixels.end(), picture.pixels.begin(), picture.pixels.end());
    images.labels.push_back(file.second);
  }
  return images;
}

}  // namespace poolhead::inline POOLHEAD_ISA
