// Classifies images with the net of this bundle on iOS.
// Written for the pod TensorFlowLiteSwift 2.17 (Interpreter API), iOS 13 or later. It was not compiled or run where the
// bundle was made: compile it, then replay golden/ with `run` before you trust it.
//
// Add the .tflite file, model.json and labels.txt to the app's resources.

import Foundation
import TensorFlowLite

final class Classifier {
    private struct Description: Decodable {
        struct Step: Decodable { let step: String }
        struct Input: Decodable { let dtype: String; let shape: [Int]; let resize_steps: [Step] }
        struct Output: Decodable { let labels: String?; let classes: Int? }
        struct Target: Decodable { let file: String }
        let input: Input
        let output: Output
        let recommended: [String: Target]
    }

    private let description: Description
    private let interpreter: Interpreter

    /// A name for each output, or nil where the net's classes have none.
    let names: [String]?

    init(folder: URL, file: String? = nil, threads: Int = 2) throws {
        let json = try Data(contentsOf: folder.appendingPathComponent("model.json"))
        description = try JSONDecoder().decode(Description.self, from: json)
        names = try description.output.labels.map {
            try String(contentsOf: folder.appendingPathComponent($0), encoding: .utf8)
                .split(separator: "\n").map(String.init)
        }
        guard let chosen = file ?? description.recommended["cpu"]?.file else { throw CocoaError(.fileNoSuchFile) }
        var options = Interpreter.Options()
        options.threadCount = threads
        interpreter = try Interpreter(modelPath: folder.appendingPathComponent(chosen).path, options: options)
        try interpreter.allocateTensors()
    }

    /// Probabilities of a photo: `pixels` are 8 bits each, red, green, blue without padding, already turned by the EXIF
    /// orientation, over white.
    func classify(pixels: [UInt8], width: Int, height: Int) throws -> [Float] {
        let found = try run(resized(pixels, width, height))
        // One number for two classes is the probability of the second.
        return description.output.classes == 2 && found.count == 1 ? [1 - found[0], found[0]] : found
    }

    /// The net's own outputs for height * width * channels numbers of exactly the input's size.
    func run(_ pixels: [UInt8]) throws -> [Float] {
        let values = description.input.dtype == "uint8"
            ? Data(pixels)
            : pixels.map(Float.init).withUnsafeBufferPointer { Data(buffer: $0) }
        try interpreter.copy(values, toInputAt: 0)
        try interpreter.invoke()
        return try interpreter.output(at: 0).data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }

    /// The rule in model.json: crop, stretch or pad, with an antialiased triangle filter, first horizontally.
    private func resized(_ rgb: [UInt8], _ photoWidth: Int, _ photoHeight: Int) -> [UInt8] {
        let (height, width, channels) = (
            description.input.shape[1], description.input.shape[2], description.input.shape[3]
        )
        let (across, down) = (Double(photoWidth) / Double(width), Double(photoHeight) / Double(height))
        let rounded = { (side: Double) in max(1, Int(side.rounded(.toNearestOrEven))) }
        let steps = description.input.resize_steps.map(\.step)
        var (cutWidth, cutHeight, newWidth, newHeight) = (photoWidth, photoHeight, width, height)
        if steps.contains("crop") {
            cutWidth = rounded(min(across, down) * Double(width))
            cutHeight = rounded(min(across, down) * Double(height))
        } else if steps.contains("pad") {
            newWidth = rounded(Double(photoWidth) / max(across, down))
            newHeight = rounded(Double(photoHeight) / max(across, down))
        }
        let left = (photoWidth - cutWidth) / 2, top = (photoHeight - cutHeight) / 2
        var cut = [UInt8]()
        cut.reserveCapacity(cutWidth * cutHeight * channels)
        for y in 0..<cutHeight {
            for x in 0..<cutWidth {
                let at = 3 * ((top + y) * photoWidth + left + x)
                let (red, green, blue) = (Int(rgb[at]), Int(rgb[at + 1]), Int(rgb[at + 2]))
                if channels == 1 {
                    cut.append(UInt8((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16))
                } else {
                    cut += rgb[at..<at + 3]
                }
            }
        }
        let narrow = resizedRows(cut, cutWidth, cutHeight, channels, newWidth)
        let tall = transposed(narrow, newWidth, cutHeight, channels)
        let turned = resizedRows(tall, cutHeight, newWidth, channels, newHeight)
        return centred(transposed(turned, newHeight, newWidth, channels), newWidth, newHeight, channels)
    }

    /// The pixels in the middle of black.
    private func centred(_ pixels: [UInt8], _ innerWidth: Int, _ innerHeight: Int, _ channels: Int) -> [UInt8] {
        let (height, width) = (description.input.shape[1], description.input.shape[2])
        var out = [UInt8](repeating: 0, count: width * height * channels)
        let left = (width - innerWidth) / 2, top = (height - innerHeight) / 2, row = innerWidth * channels
        for y in 0..<innerHeight {
            let at = ((top + y) * width + left) * channels
            out.replaceSubrange(at..<at + row, with: pixels[y * row..<(y + 1) * row])
        }
        return out
    }

    private func resizedRows(_ pixels: [UInt8], _ width: Int, _ rows: Int, _ channels: Int, _ size: Int) -> [UInt8] {
        if width == size { return pixels }
        let ratio = Double(width) / Double(size), support = max(1, ratio)
        var out = [UInt8](repeating: 0, count: size * rows * channels)
        for i in 0..<size {
            let centre = (Double(i) + 0.5) * ratio
            let taps = max(0, Int((centre - support).rounded(.down)))...min(width - 1, Int((centre + support).rounded(.up)))
            let weights = taps.map { max(0, 1 - abs(Double($0) + 0.5 - centre) / support) }
            let total = weights.reduce(0, +)
            for row in 0..<rows {
                for c in 0..<channels {
                    let sum = zip(taps, weights).reduce(0) { $0 + $1.1 * Double(pixels[(row * width + $1.0) * channels + c]) }
                    out[(row * size + i) * channels + c] = UInt8((sum / total).rounded())
                }
            }
        }
        return out
    }

    private func transposed(_ pixels: [UInt8], _ width: Int, _ rows: Int, _ channels: Int) -> [UInt8] {
        var out = pixels
        for y in 0..<rows {
            for x in 0..<width {
                for c in 0..<channels { out[(x * rows + y) * channels + c] = pixels[(y * width + x) * channels + c] }
            }
        }
        return out
    }
}
