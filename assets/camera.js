// A camera, and small pictures out of files, for the script that follows. The camera ends when its part of the page is
// no longer seen.
const SIDE = 224, LONGEST = 1000;
const canvas = document.createElement("canvas"), video = document.createElement("video");
video.muted = video.playsInline = true;
let stream = null, watching = 0, whenClosed = () => {};

const WORDS = {
    NotAllowedError: "The camera was refused. Allow it for this page in the browser's settings, or use picture files.",
    NotFoundError: "No camera was found. Connect one, or use picture files.",
    NotReadableError: "The camera is in use by another program. Close that, or use picture files.",
};
const isSeen = () => !document.hidden && element.isConnected && element.checkVisibility();
const closeCamera = () => {
    if (!stream) return;
    clearInterval(watching);
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = stream = null;
    whenClosed();
};
const closeUnseen = () => { if (!isSeen()) closeCamera(); };
// Gives a sentence if there is no camera, else nothing; `end` is called when it is closed, for whatever reason.
const openCamera = async (end) => {
    closeCamera();
    if (!navigator.mediaDevices?.getUserMedia) return "Browsers give a camera only to pages that came by https or from this computer (localhost). Picture files work without one.";
    try {
        const wanted = {width: {ideal: 640}, height: {ideal: 480}, facingMode: {ideal: "environment"}};
        const found = await navigator.mediaDevices.getUserMedia({video: wanted});
        if (stream || !isSeen()) { found.getTracks().forEach((track) => track.stop()); return ""; }
        stream = found;
        whenClosed = end;
        stream.getTracks().forEach((track) => track.addEventListener("ended", closeCamera));
        watching = setInterval(closeUnseen, 300);
        video.srcObject = stream;
        await video.play();
        return "";
    } catch (error) {
        closeCamera();
        return WORDS[error.name] ?? `The camera cannot be used (${error.name}). Picture files work without one.`;
    }
};
document.addEventListener("visibilitychange", closeUnseen);

const toJpeg = (source, from, width, height) => {
    Object.assign(canvas, {width, height});
    const ink = canvas.getContext("2d");
    ink.fillStyle = "#fff";  // behind what is transparent
    ink.fillRect(0, 0, width, height);
    ink.drawImage(source, ...from, 0, 0, width, height);
    return canvas.toDataURL("image/jpeg", 0.85);
};
// The middle square of what the camera sees.
const takePicture = () => {
    const {videoWidth: w, videoHeight: h} = video, side = Math.min(w, h);
    return side ? toJpeg(video, [(w - side) / 2, (h - side) / 2, side, side], SIDE, SIDE) : "";
};
// A whole picture file, its shorter side at most SIDE; nothing where this browser cannot show it.
const shrinkFile = async (file) => {
    try {
        const bitmap = await createImageBitmap(file), {width: w, height: h} = bitmap;
        const scale = Math.min(1, SIDE / Math.min(w, h), LONGEST / Math.max(w, h));
        const shrunk = toJpeg(bitmap, [0, 0, w, h], Math.max(1, Math.round(w * scale)), Math.max(1, Math.round(h * scale)));
        bitmap.close();
        return shrunk;
    } catch {
        return "";
    }
};
const strip = (picture) => picture.slice(picture.indexOf(",") + 1);
