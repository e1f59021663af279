// Names the picture slots for screen readers: the uploads of most WebUIs have buttons, but no label.
onAfterUiUpdate(() => {
    for (const title of document.querySelectorAll('[id^="script_"][id*="_layerdiffuse_"][id$="_title"]')) {
        const box = document.getElementById(title.id.replace(/_title$/, "_box"));
        if (box && box.getAttribute("aria-labelledby") !== title.id) {
            box.setAttribute("role", "group");
            box.setAttribute("aria-labelledby", title.id);
        }
    }
});
