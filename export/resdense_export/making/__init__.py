"""Files out of models: conversion once, quantization many times, training on, and the stock converter beside them."""
