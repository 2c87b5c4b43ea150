// From a file of an image to the pixels that a net takes: as resdense_keras.data.images.decode, in a browser.

import { toPixels } from "./classify.mjs"; // the snippet of every bundle, so that the page proves it

/** An ImageBitmap with the orientation applied; colour profiles are not. */
export function decode(blob) {
  return createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
}

const CROP = [{ step: "crop" }]; // what a bundle without steps means

/** Float32 pixels [0, 255] of an ImageBitmap for an input [1, height, width, channels], by model.json's steps. */
export function pixelsFor(bitmap, shape, steps) {
  return Float32Array.from(toPixels(bitmap, shape, steps ?? CROP));
}

/** The pixels of an input as a picture that a canvas shows. */
export function pictureOf(pixels, [, height, width, channels]) {
  const picture = new ImageData(width, height);
  for (let place = 0; place < height * width; place++) {
    for (let channel = 0; channel < 3; channel++) {
      picture.data[4 * place + channel] = pixels[place * channels + (channels === 1 ? 0 : channel)];
    }
    picture.data[4 * place + 3] = 255;
  }
  return picture;
}
