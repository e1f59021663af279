// What a page in Python cannot do. Hosts load this file and call back after every change of the page.

// The uploads of most WebUIs have buttons, but no label: name the slots for screen readers.
onAfterUiUpdate(() => {
    for (const title of document.querySelectorAll('[id^="script_"][id*="_layerdiffuse_"][id$="_title"]')) {
        const box = document.getElementById(title.id.replace(/_title$/, "_box"));
        if (box && box.getAttribute("aria-labelledby") !== title.id) {
            box.setAttribute("role", "group");
            box.setAttribute("aria-labelledby", title.id);
        }
    }
});

// A job runs outside the page's requests, so its message cannot become a toast by itself: ask for it.
const layerdiffuseSeen = new WeakSet();
onAfterUiUpdate(() => {
    for (const tab of ["txt2img", "img2img"]) {
        const error = document.querySelector(`#html_log_${tab} .error`);
        if (error && !layerdiffuseSeen.has(error)) {
            layerdiffuseSeen.add(error);
            document.getElementById(`script_${tab}_layerdiffuse_message`)?.click();
        }
    }
});
