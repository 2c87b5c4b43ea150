// Classifies images with the net of this bundle on Android.
// Written for com.google.ai.edge.litert:litert:2.1 (CompiledModel API), Android 8 or later. It was not compiled or run
// where the bundle was made: compile it, then replay golden/ with `run` before you trust it.
//
// Put the .tflite file, model.json and labels.txt into the app's assets.

package resdense

import android.content.res.AssetManager
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.rint
import org.json.JSONObject

class Classifier(assets: AssetManager, file: String? = null, accelerator: Accelerator = Accelerator.CPU) : AutoCloseable {
    private val description = JSONObject(assets.open("model.json").bufferedReader().use { it.readText() })
    private val input = description.getJSONObject("input")
    private val shape = input.getJSONArray("shape") // 1, height, width, channels
    private val height = shape.getInt(1)
    private val width = shape.getInt(2)
    private val channels = shape.getInt(3)
    private val steps = input.getJSONArray("resize_steps").let { steps ->
        (0 until steps.length()).map { steps.getJSONObject(it).getString("step") }
    }

    /** A name for each output, or null where the net's classes have none. */
    val names: List<String>? = description.getJSONObject("output").optString("labels")
        .takeIf { it.isNotEmpty() && it != "null" }
        ?.let { labels -> assets.open(labels).bufferedReader().use { it.readLines() } }

    private val compiled = CompiledModel.create(
        assets,
        file ?: description.getJSONObject("recommended").getJSONObject(target(accelerator)).getString("file"),
        CompiledModel.Options(accelerator),
    )
    private val inputs = compiled.createInputBuffers()
    private val outputs = compiled.createOutputBuffers()

    /** Probabilities of a photo that is already turned by its EXIF orientation (ARGB_8888, transparent parts white). */
    fun classify(photo: Bitmap): FloatArray {
        val found = run(toPixels(photo))
        // One number for two classes is the probability of the second.
        val one = description.getJSONObject("output").optInt("classes") == 2 && found.size == 1
        return if (one) floatArrayOf(1 - found[0], found[0]) else found
    }

    /** The net's own outputs for height * width * channels numbers from 0 to 255, of exactly the input's size. */
    fun run(pixels: IntArray): FloatArray {
        if (input.getString("dtype") == "uint8") {
            inputs[0].writeInt8(ByteArray(pixels.size) { pixels[it].toByte() })
        } else {
            inputs[0].writeFloat(FloatArray(pixels.size) { pixels[it].toFloat() })
        }
        compiled.run(inputs, outputs)
        return outputs[0].readFloat()
    }

    override fun close() {
        inputs.forEach { it.close() }
        outputs.forEach { it.close() }
        compiled.close()
    }

    private fun target(accelerator: Accelerator) = when (accelerator) {
        Accelerator.GPU -> "gpu"
        Accelerator.NPU -> "npu"
        else -> "cpu"
    }

    /** The rule in model.json: crop, stretch or pad, with an antialiased triangle filter, first horizontally. */
    private fun toPixels(photo: Bitmap): IntArray {
        val across = photo.width.toDouble() / width
        val down = photo.height.toDouble() / height
        var (cutWidth, cutHeight) = Pair(photo.width, photo.height)
        var (newWidth, newHeight) = Pair(width, height)
        if ("crop" in steps) {
            cutWidth = max(1, rint(min(across, down) * width).toInt())
            cutHeight = max(1, rint(min(across, down) * height).toInt())
        } else if ("pad" in steps) {
            newWidth = max(1, rint(photo.width / max(across, down)).toInt())
            newHeight = max(1, rint(photo.height / max(across, down)).toInt())
        }
        val colours = IntArray(cutWidth * cutHeight)
        photo.getPixels(
            colours, 0, cutWidth, (photo.width - cutWidth) / 2, (photo.height - cutHeight) / 2, cutWidth, cutHeight,
        )
        val cut = IntArray(colours.size * channels) { channel(colours[it / channels], it % channels) }
        val narrow = resizeRows(cut, cutWidth, cutHeight, newWidth)
        val turned = resizeRows(transpose(narrow, newWidth, cutHeight), cutHeight, newWidth, newHeight)
        return centred(transpose(turned, newHeight, newWidth), newWidth, newHeight)
    }

    /** The pixels in the middle of black. */
    private fun centred(pixels: IntArray, innerWidth: Int, innerHeight: Int): IntArray {
        val out = IntArray(width * height * channels)
        val left = (width - innerWidth) / 2
        val top = (height - innerHeight) / 2
        val row = innerWidth * channels
        for (y in 0 until innerHeight) {
            pixels.copyInto(out, ((top + y) * width + left) * channels, y * row, (y + 1) * row)
        }
        return out
    }

    private fun channel(colour: Int, number: Int): Int {
        val red = colour shr 16 and 255
        val green = colour shr 8 and 255
        val blue = colour and 255
        if (channels == 1) return (19595 * red + 38470 * green + 7471 * blue + 32768) shr 16
        return intArrayOf(red, green, blue, colour ushr 24)[number]
    }

    private fun resizeRows(pixels: IntArray, from: Int, rows: Int, size: Int): IntArray {
        if (from == size) return pixels
        val ratio = from.toDouble() / size
        val support = max(1.0, ratio)
        val out = IntArray(size * rows * channels)
        for (i in 0 until size) {
            val centre = (i + 0.5) * ratio
            val taps = max(0, floor(centre - support).toInt())..min(from - 1, ceil(centre + support).toInt())
            val weights = taps.map { max(0.0, 1 - abs(it + 0.5 - centre) / support) }
            for (row in 0 until rows) for (c in 0 until channels) {
                val sum = taps.sumOf { weights[it - taps.first] * pixels[(row * from + it) * channels + c] }
                out[(row * size + i) * channels + c] = (sum / weights.sum() + 0.5).toInt()
            }
        }
        return out
    }

    private fun transpose(pixels: IntArray, from: Int, rows: Int): IntArray {
        val out = IntArray(pixels.size)
        for (y in 0 until rows) for (x in 0 until from) for (c in 0 until channels) {
            out[(x * rows + y) * channels + c] = pixels[(y * from + x) * channels + c]
        }
        return out
    }
}
